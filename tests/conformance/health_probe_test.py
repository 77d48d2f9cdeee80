"""grpc-health-probe, as a container's probe: what counts is how it ends."""

import signal
import unittest

from support import Repository, Server, affine_model, free_port, run_tool, wait_until

HEALTHY, NO_CONNECTION, NO_ANSWER, UNHEALTHY = 0, 2, 3, 4


def probe(server, service=None):
    flags = [] if service is None else [f"-service={service}"]
    return run_tool("grpc-health-probe", f"-addr={server.address}", *flags)


class HealthProbeTest(unittest.TestCase):
    def test_server_and_models(self):
        repository = Repository().add("affine", 1, affine_model(1))
        repository.add("broken", 1, b"not a model")
        self.addCleanup(repository.remove)
        with Server(repository, ready=False) as server:
            wait_until(lambda: probe(server, "affine").returncode == HEALTHY, "affine")
            for service in ("affine", "tensorflow.serving.PredictionService",
                            "inference.GRPCInferenceService"):
                self.assertEqual(probe(server, service).stderr, "status: SERVING\n", service)
            result = probe(server, "broken")
            self.assertEqual(result.returncode, UNHEALTHY)
            self.assertIn("NOT_SERVING", result.stderr)
            result = probe(server, "nope")
            self.assertEqual(result.returncode, NO_ANSWER)
            self.assertIn("NotFound", result.stderr)

    def test_readiness_comes_with_the_first_model_and_goes_with_the_server(self):
        repository = Repository()
        self.addCleanup(repository.remove)
        with Server(repository, ready=False, drain_seconds=20) as server:
            self.assertEqual(probe(server).returncode, UNHEALTHY)
            repository.add("affine", 1, affine_model(1))
            wait_until(lambda: probe(server).returncode == HEALTHY, "the server")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: probe(server).returncode == UNHEALTHY, "not ready any more")
            wait_until(lambda: server.process.poll() is not None, "end of the server")

    def test_nobody_there(self):
        result = run_tool("grpc-health-probe", f"-addr=127.0.0.1:{free_port()}",
                          "-connect-timeout=2s")
        self.assertEqual(result.returncode, NO_CONNECTION, result.stderr)


if __name__ == "__main__":
    unittest.main()
