"""Debian's own Prometheus against the running server: metrics are well formed, the dashboard's
queries all return data, the alerts can be evaluated and fire when they should."""

import json
import math
import pathlib
import re
import subprocess
import tempfile
import threading
import unittest
import urllib.parse

import numpy as np
import tritonclient.grpc as triton

from support import (DIE_WITH_PARENT, ROOT, Repository, Server, affine_model, free_port, http_get,
                     wait_until)

PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARD = ROOT / "deploy/grafana/dashboards/baton.json"
# What Grafana would put in place of its variables, with rates over ten scrapes.
VARIABLES = {"$__rate_interval": "5s", "$__range": "5m", "$job": "baton", "$instance": ".*",
             "$model": ".*"}
PROMISED = {  # name → labels, as the user documentation has them
    "baton_requests_total": {"model", "version", "method", "code"},
    "baton_request_duration_seconds_bucket": {"model", "version", "le"},
    "baton_phase_duration_seconds_bucket": {"model", "version", "phase", "le"},
    "baton_batch_size_bucket": {"model", "version", "le"},
    "baton_queue_depth": {"model", "version"},
    "baton_model_state": {"model", "version", "state"},
    "baton_model_load_duration_seconds_bucket": {"model", "phase", "le"},
    "baton_model_load_failures_total": {"model", "reason"},
    "baton_model_memory_bytes": {"model", "version"},
    "baton_swaps_total": {"model"},
    "baton_build_info": {"version"},
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_start_time_seconds": set(),
    "process_open_fds": set(),
}


def promtool(*arguments, text=None):
    return subprocess.run(["promtool", *map(str, arguments)], input=text, capture_output=True,
                          text=True, timeout=60)


def dashboard_queries():
    """(panel's title, query as Prometheus gets it), of every panel and annotation."""
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [(panel["title"], target["expr"]) for panel in dashboard["panels"]
               for target in panel.get("targets", ())]
    for title, query in queries:
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        yield title, query


class Load:
    """Two clients that call without a pause, one in ten calls wrongly."""

    def __init__(self, server):
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(server, i)) for i in range(2)]
        for thread in self._threads:
            thread.start()

    def _run(self, server, i):
        with triton.InferenceServerClient(server.address) as client:
            count = 0
            while not self._stop.wait(0.002):
                count += 1
                columns = 5 if count % 10 == 0 else 4
                x = triton.InferInput("x", [1 + i, columns], "FP32")
                x.set_data_from_numpy(np.zeros((1 + i, columns), np.float32))
                try:
                    client.infer("affine", [x])
                except Exception:  # the wrong ones; what goes wrong is the metrics' business
                    pass

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()


class PrometheusProcess:
    def __init__(self, target):
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="baton-prometheus-")
        directory = pathlib.Path(self._directory.name)
        config = (PROMETHEUS / "prometheus.yml").read_text()
        config, targets = re.subn(r'"baton:8501"', f'"{target}"', config)
        config, intervals = re.subn(r"interval: 5s", "interval: 500ms", config)
        assert targets == 1 and intervals == 2
        (directory / "prometheus.yml").write_text(config)
        (directory / "rules.yml").write_text((PROMETHEUS / "rules.yml").read_text())
        self._log = open(directory / "log", "w+")
        self._process = subprocess.Popen(
            [*DIE_WITH_PARENT, "prometheus", f"--config.file={directory / 'prometheus.yml'}",
             f"--storage.tsdb.path={directory / 'data'}",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: http_get(self.port, "/-/ready")[0] == 200, "Prometheus")
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}; its log:\n{self.log}") from None

    def api(self, path, **parameters):
        status, body = http_get(self.port, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        reply = json.loads(body)
        assert status == 200 and reply["status"] == "success", f"{path} {parameters}: {body}"
        return reply["data"]

    def query(self, expression):
        return self.api("query", query=expression)["result"]

    def stop(self):
        self._process.terminate()
        self._process.wait(60)
        self._log.seek(0)
        self.log = self._log.read()
        self._log.close()
        self._directory.cleanup()


class PrometheusTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("affine", 1, affine_model(1))
        cls.repository.add("other", 1, affine_model(1))
        cls.addClassCleanup(cls.repository.remove)
        cls.server = cls.enterClassContext(Server(cls.repository))
        load = Load(cls.server)
        cls.addClassCleanup(load.stop)
        cls.prometheus = PrometheusProcess(f"127.0.0.1:{cls.server.http_port}")
        cls.addClassCleanup(cls.prometheus.stop)
        # One swap and one version that fails, while it is being watched.
        cls.wait_for('rate(baton_requests_total{model="affine", code="OK"}[5s]) > 0')
        cls.repository.add("affine", 2, affine_model(2))
        cls.wait_for('baton_model_state{model="affine", version="2", state="ready"} == 1')
        cls.repository.add("other", 2, affine_model(2)[:40])
        cls.wait_for('baton_model_state{model="other", version="2", state="failed"} == 1')
        cls.wait_for('rate(baton_requests_total{model="affine", version="2", code="OK"}[5s]) > 0')

    @classmethod
    def wait_for(cls, expression):
        return wait_until(lambda: cls.prometheus.query(expression), expression)

    def test_metrics_are_clean(self):
        for path in ("/metrics", "/monitoring/prometheus/metrics"):
            status, body = http_get(self.server.http_port, path)
            self.assertEqual(status, 200)
            result = promtool("check", "metrics", text=body)
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_promised_metrics_have_their_labels(self):
        for name, labels in PROMISED.items():
            with self.subTest(name):
                series = self.prometheus.query(name)
                self.assertTrue(series, "no such series")
                for one in series:
                    self.assertLessEqual(labels, set(one["metric"]))

    def test_nothing_but_promised_prefixes(self):
        for name in self.prometheus.api("label/__name__/values"):
            self.assertRegex(name, r"^(baton_|process_|up$|scrape_|ALERTS)")

    def test_requests_are_counted_by_code(self):
        for code in ("OK", "INVALID_ARGUMENT"):
            self.assertTrue(self.prometheus.query(
                f'baton_requests_total{{model="affine", method="ModelInfer", code="{code}"}} > 0'),
                code)

    def test_every_query_of_the_dashboard_returns_data(self):
        queries = list(dashboard_queries())
        self.assertGreater(len(queries), 20)
        for title, query in queries:
            with self.subTest(title, query=query):
                self.assertNotIn("$", query)

                # The first points of a rate can be 0/0; data must come, and be numbers.
                def data():
                    return [s for s in self.prometheus.query(query)
                            if not math.isnan(float(s["value"][1]))]
                self.assertTrue(wait_until(data, title))

    def test_variables_of_the_dashboard_return_data(self):
        dashboard = json.loads(DASHBOARD.read_text())
        for variable in dashboard["templating"]["list"]:
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)",
                                         variable["definition"]).groups()
            for name, value in VARIABLES.items():
                series = series.replace(name, value)
            values = {s["metric"].get(label) for s in self.prometheus.query(series)}
            self.assertTrue(values - {None}, variable["name"])

    def test_alerts_are_evaluated(self):
        wait_until(lambda: all(
            rule["lastEvaluation"][:4] != "0001"
            for group in self.prometheus.api("rules")["groups"] for rule in group["rules"]),
            "first evaluation")
        [group] = self.prometheus.api("rules")["groups"]
        for rule in group["rules"]:
            self.assertEqual((rule["health"], rule.get("lastError", "")), ("ok", ""), rule["name"])
        self.wait_for('ALERTS{alertname="BatonLoadFailed", model="other", version="2"}')

    def test_every_name_in_rules_and_dashboard_is_exported(self):
        exported = set(self.prometheus.api("label/__name__/values"))
        text = DASHBOARD.read_text() + (PROMETHEUS / "rules.yml").read_text()
        for name in set(re.findall(r"\b(?:baton|process)_[a-z_]+(?=[{\[)])", text)):
            self.assertIn(name, exported)


class FilesTest(unittest.TestCase):
    def test_prometheus_accepts_its_files(self):
        for what, file in (("config", "prometheus.yml"), ("rules", "rules.yml")):
            result = promtool("check", what, PROMETHEUS / file)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_alerts_fire_when_they_should(self):
        result = promtool("test", "rules", pathlib.Path(__file__).parent / "rules_test.yml")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
