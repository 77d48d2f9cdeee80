"""What Baton adds to a request: the same load against baton-server and against echo_server, a bare
asynchronous gRPC server, in turns. Prints a Markdown table."""

import load
from load import median

LOADS = [("tfs", 1), ("tfs", 8), ("tfs", 64), ("oip", 1), ("oip", 8), ("oip", 64)]
NAMES = {"tfs": "Predict", "oip": "ModelInfer"}


def measure(options, nets, servers, net, in_flight, protocol):
    """For each round a report of each server; of Baton with "engine_us": the engine's time for each
    request."""
    for _ in range(options.rounds):
        reports = []
        for server in servers:
            before = server.engine_seconds(net)
            report = load.run_load_and_watch(server, net, nets.input(net),
                                             f"--concurrency={in_flight}", seconds=options.seconds,
                                             protocol=protocol)
            assert report["failed"] == 0, report
            used = server.engine_seconds(net) - before
            report["engine_us"] = used / report["requests"] * 1e6
            reports.append(report)
        yield reports


def compare(options, nets, baton, echo, protocol, in_flight):
    """A row of the table: medians over rounds of both, and of their ratios."""
    pairs = list(measure(options, nets, (echo, baton), "mlp", in_flight, protocol))

    def ratio(value):
        return median(value(ours) / value(bare) for bare, ours in pairs)

    def both(value, digits):
        bare, ours = (median(value(pair[i]) for pair in pairs) for i in (0, 1))
        return f"{ours:.{digits}f} / {bare:.{digits}f}"

    def rate(report):
        return report["requests_per_s"]

    def cpu(report):
        return report["cpu_us"]

    def p50(report):
        return report["latency_ms"]["p50"] * 1000

    def p99(report):
        return report["latency_ms"]["p99"] * 1000

    load.note(f"{protocol} {in_flight}: {ratio(rate):.2f} of the rate")
    return [f"MLP, {NAMES[protocol]}", in_flight,
            both(rate, 0), f"**{ratio(rate):.2f}**", both(p50, 0), f"**{ratio(p50):.2f}**",
            both(p99, 0), f"**{ratio(p99):.2f}**", both(cpu, 1), f"**{ratio(cpu):.2f}**",
            f"{median(ours['engine_us'] for _, ours in pairs):.1f}"]


def image(options, nets, baton, echo, protocol):
    """Server CPU of a request with a photo, without the engine's share, and what the bare server
    needs for it; in µs."""
    found = [(ours["cpu_us"], ours["engine_us"], ours["cpu_us"] - ours["engine_us"], bare["cpu_us"])
             for bare, ours in measure(options, nets, (echo, baton), "mean_colour", 8, protocol)]
    total, engine, rest, bare = (median(column) for column in zip(*found))
    return [f"600 KB, {NAMES[protocol]}", f"{total:.1f}", f"{engine:.1f}", f"**{rest:.1f}**",
            f"{bare:.1f}"]


def main():
    options = load.arguments(__doc__, rounds=5, seconds=3.0)
    with load.Nets("mlp", "mean_colour") as nets:
        for name in nets.files:
            nets.publish(name, 1)
        with load.Baton(nets) as baton, load.Echo() as echo:
            rows = [compare(options, nets, baton, echo, *which) for which in LOADS]
            images = [image(options, nets, baton, echo, protocol) for protocol in NAMES]
    print(f"{options.rounds} rounds of {options.seconds:g} s for each side; Baton / bare server, "
          "and the median of the ratios.\n")
    load.table(["request", "in flight", "requests/s", "×", "p50 µs", "×", "p99 µs", "×",
                "server CPU µs", "×", "of it in the engine"], rows)
    print()
    load.table(["request, 8 in flight", "server CPU µs", "of it in the engine", "rest",
                "bare server CPU µs"], images)


if __name__ == "__main__":
    main()
