"""Swaps under load: versions of a model are published one after the other while 16 connections
ask for it; windows with swaps take turns with windows without. Prints a Markdown table. Ends with
1 if a request failed or a version went back. --nets: each with how many windows with swaps come
after one without, 1 if it does not say. --seconds: no further windows for a network after so long."""

import itertools
import json
import pathlib
import sys
import time

import load
import support

CONNECTIONS = 16


def busy_seconds():
    """CPU time that all processes have used."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[1:8])
    return (user + nice + system + irq + softirq) / 100


class Swapper:
    """Publishes version after version, each when the one before is the only one left."""

    def __init__(self, nets, server, net):
        self.nets, self.server, self.net = nets, server, net
        self.swaps = 0
        self.memory = {}  # MB by number of swaps

    def versions(self):
        """The states of those that are not gone."""
        status, body = support.http_get(self.server.http_port, f"/v1/models/{self.net}")
        assert status == 200, body
        return {int(v["version"]): v["state"] for v in json.loads(body)["model_version_status"]
                if v["state"] != "END"}

    def swap(self):
        self.swaps += 1
        version = self.swaps + 1
        self.nets.publish(self.net, version)
        support.wait_until(lambda: self.versions() == {version: "AVAILABLE"},
                           f"version {version} of {self.net} alone")
        self.nets.withdraw(self.net, version - 1)
        self.memory[self.swaps] = self.server.watched.memory_mb()


def think_time(target, options):
    """Seconds that each connection thinks so that the machine is as busy as options.load says."""
    full = load.run_load(*target, f"--concurrency={CONNECTIONS}", seconds=options.window)
    pause = CONNECTIONS / full["requests_per_s"]
    for _ in range(5):
        began, busy = time.monotonic(), busy_seconds()
        load.run_load(*target, f"--concurrency={CONNECTIONS}", f"--think-time={pause:.6f}",
                      seconds=options.window / 2)
        share = (busy_seconds() - busy) / (time.monotonic() - began) / load.CORES
        load.note(f"thinking {pause * 1000:.3f} ms: {share:.0%} of the CPU")
        pause *= min(max(share / options.load, 0.5), 2)
    return pause


def soak(net, swap_windows, options):
    """A row of the table, and whether nothing failed. swap_windows: those after one without."""
    with load.Nets(net) as nets:
        nets.publish(net, 1)
        with load.Baton(nets) as server:
            swapper = Swapper(nets, server, net)
            target = (server.address, net, nets.input(net), f"--connections={CONNECTIONS}")
            pause = think_time(target, options)
            paced = [f"--concurrency={CONNECTIONS}", f"--think-time={pause:.6f}"]
            reports = {"quiet": [], "swaps": []}
            shares = []
            end = time.monotonic() + options.seconds
            for kind in itertools.cycle(["quiet"] + ["swaps"] * swap_windows):
                done = swapper.swaps >= options.swaps or time.monotonic() >= end
                if done and reports["swaps"]:
                    break
                began, busy = time.monotonic(), busy_seconds()
                clients = load.start_load(*target, *paced, seconds=options.window)
                while kind == "swaps" and clients.poll() is None and (
                        swapper.swaps < options.swaps):
                    swapper.swap()
                report = load.finish_load(clients)
                reports[kind].append(report)
                if kind == "quiet":
                    shares.append((busy_seconds() - busy) / (time.monotonic() - began))
                load.note(f"{net}: {swapper.swaps} swaps, {kind} p99 "
                          f"{report['latency_ms']['p99']:.3f} ms")
    everything = reports["quiet"] + reports["swaps"]
    failed = sum(report["failed"] for report in everything)
    back = sum(report["versions_went_back"] for report in everything)
    quiet, swaps = (load.median(report["latency_ms"]["p99"] for report in reports[kind])
                    for kind in ("quiet", "swaps"))
    early = swapper.memory[min(10, swapper.swaps)]
    end = swapper.memory[swapper.swaps]
    row = [net, swapper.swaps, sum(report["requests"] for report in everything), failed, back,
           f"{load.median(shares) / load.CORES:.0%}", f"{quiet:.3f}", f"{swaps:.3f}",
           f"**{swaps / quiet:.2f}**", f"{early:.1f}", f"{end:.1f}", f"{end / early - 1:+.1%}"]
    return row, failed == back == 0


def main():
    options = load.arguments(__doc__, nets="mlp:1,resnet50:10", swaps=1000, window=10.0, load=0.7,
                             seconds=10000.0)
    nets = (net.partition(":") for net in options.nets.split(","))
    rows, fine = zip(*(soak(net, int(windows or 1), options) for net, _, windows in nets))
    print(f"{CONNECTIONS} connections, each thinking after a reply for so long that the CPU is about "
          f"{options.load:.0%} busy; windows of {options.window:g} s, medians of their p99.\n")
    load.table(["network", "swaps", "requests", "failed", "went back", "CPU", "p99 ms without",
                "p99 ms with swaps", "×", "RSS MB after 10", "RSS MB at the end", ""], rows)
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
