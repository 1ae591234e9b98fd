"""Numbers for Prometheus: counted where results pass, read from the sessions when somebody asks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from driftcam.daemon.engine.state import EngineState
from driftcam.daemon.frames import Result
from driftcam.daemon.service.gpus import gpus
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.session import Session

BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
LAG_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
COUNTERS = (
    ("received", "in", "Frames that came in."),
    ("delivered", "out", "Results that were delivered."),
    ("dropped", "dropped", "Frames or results that a newer one replaced."),
)


class Metrics:
    """One registry for a daemon.

    Attributes:
        lag: of the event loop, in seconds.
    """

    def __init__(self, core: Core) -> None:
        disable_created_metrics()  # a series more for each, of no use here
        self._core = core
        self._counting: dict[str, tuple[Session, Counting]] = {}
        self._reports: dict[str, Mapping[str, Any]] = {}
        self._registry = registry = CollectorRegistry()
        latency, stage = "driftcam_glass_to_glass_seconds", "driftcam_stage_seconds"
        by_session, by_stage = ["session"], ["session", "stage"]
        self._latency = Histogram(latency, "From capture to result.", by_session, buckets=BUCKETS, registry=registry)
        self._stages = Histogram(stage, "Of a frame, by stage.", by_stage, buckets=BUCKETS, registry=registry)
        self.lag = Histogram(
            "driftcam_event_loop_lag_seconds", "How late the loop is.", buckets=LAG_BUCKETS, registry=registry
        )
        self._clients = Gauge("driftcam_viewers", "Open streams and sockets.", registry=registry)
        ProcessCollector(registry=registry)  # memory, descriptors and processor time of the daemon
        ProcessCollector(namespace="driftcam_engine", pid=lambda: core.supervisor.pid or 0, registry=registry)
        registry.register(self)

    def follow(self) -> None:
        """Count the results of every open session, and no longer those of closed ones."""
        for session in self._core.sessions:
            known = self._counting.get(session.name)
            if known is None or known[0] is not session:
                counting = Counting(self._latency.labels(session.name), self._stages, session.name)
                self._counting[session.name] = session, counting
                session.listen(counting.count)
        for name in [name for name in self._counting if self._core.sessions.get(name) is None]:
            del self._counting[name]
            self._reports.pop(name, None)
            for histogram in (self._latency, self._stages):
                histogram.remove_by_labels({"session": name})

    async def expose(self, viewers: int) -> bytes:
        """In Prometheus' text format."""
        self.follow()
        self._clients.set(viewers)
        sessions = list(self._core.sessions)
        reports = await asyncio.gather(*(session.report() for session in sessions))
        self._reports = {session.name: report for session, report in zip(sessions, reports, strict=True)}
        return await asyncio.to_thread(generate_latest, self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        yield from self._of_sessions()
        yield from self._of_the_engine()
        yield from _of_gpus()

    def _of_sessions(self) -> Iterator[Metric]:
        numbers = {session.name: session.statistics() for session in self._core.sessions}
        for key, name, about in COUNTERS:
            yield _counters(f"driftcam_frames_{name}", about, {each: row[key] for each, row in numbers.items()})
        gated = {name: counting.gated for name, (_, counting) in list(self._counting.items())}
        yield _counters("driftcam_frames_gated", "Results that repeat the one before: nothing moved.", gated)
        for key, about in (("fps", "Results a second."), ("fps_in", "Frames a second.")):
            family = GaugeMetricFamily(f"driftcam_{key}", about, labels=["session"])
            for name, row in numbers.items():
                family.add_metric([name], row[key])
            yield family
        depth = GaugeMetricFamily("driftcam_queue_depth", "Waiting at the moment.", labels=["session", "queue"])
        repeated = CounterMetricFamily(
            "driftcam_frames_repeated", "Sent again by a sink for want of a new one.", labels=["session", "sink"]
        )
        for session in self._core.sessions:
            for queue, length in session.queues().items():
                depth.add_metric([session.name, queue], length)
            for sink in session.sinks:
                if (count := getattr(sink, "repeated", None)) is not None:
                    repeated.add_metric([session.name, sink.name], count)
        yield from (depth, repeated, _pipelines(numbers))

    def _of_the_engine(self) -> Iterator[Metric]:
        supervisor = self._core.supervisor
        yield CounterMetricFamily("driftcam_engine_restarts", "Of the engine process.", value=supervisor.restarts)
        state = GaugeMetricFamily("driftcam_engine_state", "1 for the state that it is in.", labels=["state"])
        for each in EngineState:
            state.add_metric([each], float(supervisor.state == each))
        yield state
        yield self._engine_stages()

    def _engine_stages(self) -> Metric:
        """What the engine counts by itself; it begins anew with each process."""
        about, labels = "Of a frame in the engine, by its own stages.", ["session", "stage"]
        family = HistogramMetricFamily("driftcam_engine_stage_seconds", about, labels=labels)
        for session, report in list(self._reports.items()):
            histogram = report.get("histogram_ms", {})
            names = [*(f"{bound / 1000:g}" for bound in histogram.get("bounds", ())), "+Inf"]
            for stage, counted in histogram.get("stages", {}).items():
                up_to = itertools.accumulate(counted["counts"])
                buckets = list(zip(names, up_to, strict=True))
                family.add_metric([session, stage], buckets, counted["sum"] / 1000)
        return family


class Counting:
    """Looks at the times of one session's results."""

    def __init__(self, latency: Any, stages: Histogram, session: str) -> None:
        self._latency = latency
        self._engine = stages.labels(session, "engine")
        self._around = stages.labels(session, "transport")
        self.gated = 0

    def count(self, result: Result) -> None:
        seconds, in_engine = (result.arrived - result.source.captured) / 1e9, result.process_ms / 1000
        self._latency.observe(seconds)
        if in_engine:  # else it is an untouched picture
            self._engine.observe(in_engine)
        self._around.observe(max(0.0, seconds - in_engine))
        self.gated += result.skipped


def _counters(name: str, about: str, by_session: Mapping[str, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, about, labels=["session"])
    for session, value in by_session.items():
        family.add_metric([session], value)
    return family


def _pipelines(numbers: Mapping[str, Mapping[str, Any]]) -> Metric:
    about = "1 for the pipeline that runs: sequential, or stream, whose results lag some frames."
    family = GaugeMetricFamily("driftcam_engine_pipeline", about, labels=["session", "pipeline"])
    for session, row in numbers.items():
        if row["pipeline"]:
            family.add_metric([session, row["pipeline"]], 1.0)
    return family


def _of_gpus() -> Iterator[Metric]:
    used = GaugeMetricFamily("driftcam_gpu_memory_used_bytes", "Of the whole GPU.", labels=["gpu"])
    total = GaugeMetricFamily("driftcam_gpu_memory_total_bytes", "Of the whole GPU.", labels=["gpu"])
    busy = GaugeMetricFamily("driftcam_gpu_utilisation_ratio", "Share of the time.", labels=["gpu"])
    for gpu in gpus():
        used.add_metric([gpu.name], gpu.memory_used)
        total.add_metric([gpu.name], gpu.memory_total)
        busy.add_metric([gpu.name], gpu.utilisation)
    yield from (used, total, busy)
