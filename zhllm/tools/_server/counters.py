"""Counts of a server in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

BUCKETS_S = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass
class Counters:
    """What a server did; kept by its event loop alone."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)  # by path and status
    tokens: Counter[str] = field(default_factory=Counter)  # prompt, completion
    disconnects: int = 0
    running: int = 0
    waiting: int = 0
    durations: Counter[float] = field(default_factory=Counter)
    seconds: float = 0.0

    def finished(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self.requests[path, status] += 1
        self.seconds += seconds
        self.durations.update(bucket for bucket in BUCKETS_S if seconds <= bucket)

    def text(self) -> str:
        """The page that Prometheus reads."""
        lines = ["# TYPE zhllm_requests_total counter"]
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'zhllm_requests_total{{path="{path}",status="{status}"}} {count}')
        lines.append("# TYPE zhllm_tokens_total counter")
        lines += [f'zhllm_tokens_total{{kind="{kind}"}} {self.tokens[kind]}' for kind in ("prompt", "completion")]
        lines += ["# TYPE zhllm_disconnects_total counter", f"zhllm_disconnects_total {self.disconnects}"]
        lines += ["# TYPE zhllm_requests_running gauge", f"zhllm_requests_running {self.running}"]
        lines += ["# TYPE zhllm_requests_waiting gauge", f"zhllm_requests_waiting {self.waiting}"]
        total = sum(self.requests.values())
        lines.append("# TYPE zhllm_request_seconds histogram")
        lines += [f'zhllm_request_seconds_bucket{{le="{b:g}"}} {self.durations[b]}' for b in BUCKETS_S]
        lines += [f'zhllm_request_seconds_bucket{{le="+Inf"}} {total}']
        lines += [f"zhllm_request_seconds_sum {self.seconds:.6f}", f"zhllm_request_seconds_count {total}"]
        return "\n".join(lines) + "\n"
