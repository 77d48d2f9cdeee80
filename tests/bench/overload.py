"""Three times more requests than the machine can answer, in an open loop; then the normal load
again. Prints a Markdown table."""

import load
from load import median

CLIENTS = 16  # as many in flight reach the capacity, and none waits for long
DEADLINE = 1.0  # seconds that each client waits
NORMAL = 0.4  # of the capacity: the load before and after


def executed(server, net):
    """Rows that the engine has computed."""
    return server.metric("baton_batch_size_sum", model=net)


def overload(net, options):
    with load.Nets(net) as nets:
        nets.publish(net, 1)
        with load.Baton(nets) as server:
            target = (server.address, net, nets.input(net), "--connections=4",
                      f"--timeout={DEADLINE}")
            rows = []
            for _ in range(options.rounds):
                full = load.run_load(*target, f"--concurrency={CLIENTS}", seconds=options.seconds)
                rate = full["requests_per_s"]
                normal = load.run_load(*target, f"--rate={rate * NORMAL:.3f}",
                                       seconds=options.seconds)
                memory, before = server.watched.memory_mb("VmHWM"), executed(server, net)
                over = load.run_load(*target, f"--rate={rate * options.times:.3f}",
                                     "--max-in-flight=100000", seconds=options.seconds, warm_up=0)
                computed = executed(server, net) - before
                grown = server.watched.memory_mb("VmHWM") - memory
                # The second after the overload is its warm-up: what counts comes after it.
                after = load.run_load(*target, f"--rate={rate * NORMAL:.3f}",
                                      seconds=options.seconds, warm_up=1)
                errors = {error["code"]: error for error in over["errors"]}
                assert over["unsent"] == 0, over
                rows.append({
                    "capacity": rate, "goodput": over["requests_per_s"] / rate,
                    "refused": over["failed"] / over["requests"], "errors": errors,
                    "unanswered": computed - over["replies"] - 1, "grown": grown,
                    "normal": normal["latency_ms"]["p99"], "after": after["latency_ms"]["p99"]})
                load.note(f"{net}: {rows[-1]}")
    codes = sorted({code for row in rows for code in row["errors"]})
    refusals = "; ".join(
        f"{code} {median(row['errors'][code]['count'] for row in rows if code in row['errors']):.0f}"
        f", p99 {median(row['errors'][code]['latency_ms']['p99'] for row in rows if code in row['errors']):.2f} ms"
        for code in codes)
    return [net, f"{median(row['capacity'] for row in rows):.1f}",
            f"**{median(row['goodput'] for row in rows):.2f}**",
            f"{median(row['refused'] for row in rows):.0%}", refusals,
            f"{max(row['unanswered'] for row in rows):.0f}",
            f"{max(row['grown'] for row in rows):.0f}",
            f"{median(row['normal'] for row in rows):.1f}",
            f"{median(row['after'] for row in rows):.1f}"]


def main():
    options = load.arguments(__doc__, rounds=3, seconds=10.0, times=3.0, nets="resnet50,squeezenet")
    rows = [overload(net, options) for net in options.nets.split(",")]
    print(f"{options.times:g} times the capacity for {options.seconds:g} s, Poisson arrivals, each "
          f"request with a deadline of {DEADLINE:g} s; p99 at {NORMAL:.0%} of the capacity before, "
          "and from 1 s after.\n")
    load.table(["network", "capacity/s", "goodput ×", "refused", "refusals", "computed in vain",
                "peak RSS grew MB", "p99 ms before", "p99 ms after"], rows)


if __name__ == "__main__":
    main()
