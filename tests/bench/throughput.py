"""What batching brings: a heavy network served to 64 clients against the engine alone, and a small
one with Baton's own batching against fixed batch sizes and delays. Prints two Markdown tables."""

import json
import subprocess

import load
from load import BIN, median

CLIENTS = 64
# max_batch_size and batch_timeout_micros of TensorFlow Serving's batching parameters.
FIXED = [(1, 0), (8, 100), (8, 1000), (32, 100), (32, 1000), (64, 500), (64, 5000)]
LOADS = [0.1, 0.5, 0.9]


def engine_rate(net, nets, seconds):
    """Items per second of the engine's best way to use the machine."""
    best = 0
    for workers, threads in ((load.CORES, 1), (1, load.CORES)):
        result = subprocess.run(
            [BIN / "baton-model", "bench", nets.files[net] / "model.onnx", "--batch=1,8,32",
             f"--workers={workers}", f"--threads={threads}", f"--seconds={seconds}", "--json"],
            check=True, capture_output=True, text=True)
        for line in result.stdout.splitlines():
            best = max(best, json.loads(line)["items_per_s"])
    return best


def heavy(net, options):
    """A row: served rate against the engine's, in turns."""
    with load.Nets(net) as nets:
        nets.publish(net, 1)
        with load.Baton(nets) as server:
            pairs = []
            for _ in range(options.rounds):
                alone = engine_rate(net, nets, options.seconds)
                report = load.run_load(server.address, net, nets.input(net),
                                       f"--concurrency={CLIENTS}", "--connections=4",
                                       seconds=options.seconds * 3, warm_up=2)
                assert report["failed"] == 0, report
                pairs.append((alone, report["requests_per_s"]))
                load.note(f"{net}: engine {alone:.1f}/s, served {pairs[-1][1]:.1f}/s")
    return [net, CLIENTS, f"{median(a for a, _ in pairs):.1f}",
            f"{median(s for _, s in pairs):.1f}", f"**{median(s / a for a, s in pairs):.3f}**"]


class Setting:
    """A server with one way of batching."""

    def __init__(self, nets, fixed):
        flags = []
        self.name = "Baton's own"
        if fixed is not None:
            rows, delay = fixed
            self.name = f"{rows} rows, {delay} µs"
            file = nets.scratch.path / f"batching-{rows}-{delay}"
            file.write_text(f"max_batch_size {{ value: {rows} }}\n"
                            f"batch_timeout_micros {{ value: {delay} }}\n"
                            f"max_enqueued_batches {{ value: 100000 }}\n")
            flags = ["--enable_batching", f"--batching_parameters_file={file}"]
        self.server = load.Baton(nets, *flags)
        self.reports = {share: [] for share in LOADS}


def small(net, options):
    """Rows: each setting's rate and p99 at each load, and the same by Baton's own."""
    with load.Nets(net) as nets:
        nets.publish(net, 1)
        settings = [Setting(nets, fixed) for fixed in [None, *FIXED]]
        try:
            own = settings[0]
            closed = load.run_load(own.server.address, net, nets.input(net),
                                   f"--concurrency={CLIENTS}", seconds=options.seconds)
            # Requests that come one by one cost both sides more than those that come in bursts:
            # what counts as full is what comes back when more is sent than can be answered.
            full = load.run_load(own.server.address, net, nets.input(net),
                                 f"--rate={closed['requests_per_s']:.0f}", seconds=options.seconds)
            for round_ in range(options.rounds):
                for share in LOADS:
                    for setting in settings:
                        setting.reports[share].append(load.run_load(
                            setting.server.address, net, nets.input(net),
                            f"--rate={full['requests_per_s'] * share:.0f}",
                            seconds=options.seconds))
                load.note(f"{net}: round {round_ + 1} of {options.rounds}")
        finally:
            for setting in settings:
                setting.server.process.kill()
                setting.server.process.wait()
    rows = []
    for setting in settings:
        row = [setting.name]
        for share in LOADS:
            reports = setting.reports[share]
            row += [f"{median(r['requests_per_s'] for r in reports):.0f}",
                    f"{median(r['latency_ms']['p50'] for r in reports) * 1000:.0f}",
                    f"{median(r['latency_ms']['p99'] for r in reports) * 1000:.0f}"]
        rows.append(row)
    return rows


def main():
    options = load.arguments(__doc__, rounds=5, seconds=3.0, heavy="resnet50", small="mlp")
    first = [heavy(net, options) for net in options.heavy.split(",")]
    second = small(options.small, options)
    load.table(["network", "clients", "engine's best items/s", "served items/s", "×"], first)
    print(f"\n{options.small}, open loop, Poisson arrivals at a share of what an open loop reaches "
          "with Baton's own:\n")
    load.table(["batching", *(f"{column} at {share:.0%}" for share in LOADS
                              for column in ("requests/s", "p50 µs", "p99 µs"))], second)


if __name__ == "__main__":
    main()
