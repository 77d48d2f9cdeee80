"""Two models on one machine, one of them flooded: what the other's clients notice. Prints a
Markdown table."""

import load
from load import median

FLOOD = 64
# The model that is watched, its share of the machine, and the flooded one.
PAIRS = [("mlp", 0.02, "mlp"), ("mlp", 0.02, "resnet50"), ("squeezenet", 0.1, "squeezenet"),
         ("squeezenet", 0.1, "resnet50"), ("resnet50", 0.1, "squeezenet"),
         ("resnet50", 0.1, "resnet50")]


def watch(net, share, flooded, options):
    """A row: the watched model's p99 alone and beside the flood, in turns."""
    with load.Nets(*{net, flooded}) as nets:
        nets.publish(net, 1, model="watched")
        nets.publish(flooded, 1, model="flooded")
        with load.Baton(nets) as server:
            full = load.run_load(server.address, "watched", nets.input(net),
                                 f"--concurrency={FLOOD}", seconds=options.seconds)
            rate = f"--rate={full['requests_per_s'] * share:.3f}"
            alone, beside = [], []
            for _ in range(options.rounds):
                alone.append(load.run_load(server.address, "watched", nets.input(net), rate,
                                           seconds=options.seconds))
                flood = load.start_load(server.address, "flooded", nets.input(flooded),
                                        f"--concurrency={FLOOD}", "--connections=4", warm_up=0,
                                        seconds=options.seconds + 3)
                beside.append(load.run_load(server.address, "watched", nets.input(net), rate,
                                            seconds=options.seconds, warm_up=1))
                load.finish_load(flood)
    assert all(report["failed"] == 0 for report in alone + beside)
    before, after = ([report["latency_ms"]["p99"] for report in reports]
                     for reports in (alone, beside))
    ratio = median(b / a for a, b in zip(before, after))
    load.note(f"{net} beside {flooded}: {ratio:.2f}")
    return [net, f"{share:.0%}", flooded, f"{median(before):.2f}", f"{median(after):.2f}",
            f"**{ratio:.2f}**"]


def main():
    options = load.arguments(__doc__, rounds=3, seconds=8.0)
    rows = [watch(*pair, options) for pair in PAIRS]
    print(f"Open loop at a share of what the model reaches alone; the other flooded by {FLOOD} "
          "requests always in flight.\n")
    load.table(["model", "load", "flooded", "p99 ms alone", "p99 ms beside", "×"], rows)


if __name__ == "__main__":
    main()
