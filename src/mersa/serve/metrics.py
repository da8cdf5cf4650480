"""What the server counts, for Prometheus; nothing of what was sent is in it."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mersa.serve.service import Service

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """Counts of requests, and the state of the service when it is asked for.

    Args:
        service: What is told of.
        num_running: Gives how many requests are not answered yet.
    """

    def __init__(self, service: Service, num_running: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_State(service))
        running = Gauge(
            "mersa_requests_running", "Requests that are not answered yet, this one included.",
            registry=self._registry,
        )  # fmt: skip
        running.set_function(num_running)
        self._requests = Counter(
            "mersa_requests", "Requests by route and status.", ("route", "status"),
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "mersa_request_seconds", "From the first byte of a request to its answer.", ("route",),
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip

    def count(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _State(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Give the state as it is."""
        judged = CounterMetricFamily("mersa_judged_seconds", "Seconds of recordings judged.")
        judged.add_metric((), self._service.seconds_judged)
        yield judged
        waiting = GaugeMetricFamily("mersa_waiting", "Recordings that wait.", labels=("pool",))
        seconds = GaugeMetricFamily("mersa_waiting_seconds", "Their seconds.", labels=("pool",))
        ready = GaugeMetricFamily("mersa_processes_ready", "Processes at work.", labels=("pool",))
        deaths = CounterMetricFamily(
            "mersa_process_deaths", "Processes that ended at work.", labels=("pool",)
        )
        for pool in (self._service.measuring, self._service.judging):
            waiting.add_metric((pool.name,), len(pool.queue))
            seconds.add_metric((pool.name,), pool.queue.seconds)
            ready.add_metric((pool.name,), pool.num_ready)
            deaths.add_metric((pool.name,), pool.num_deaths)
        yield from (waiting, seconds, ready, deaths)
