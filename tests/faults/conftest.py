"""The option --write-reliability, which writes docs/reliability.md from the tests that ran."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
import reliability


class Results:
    """Collects each test function's results and writes the page at the end."""

    def __init__(self) -> None:
        self._cases: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._skipped_files: dict[str, str] = {}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A whole file may be skipped, for an optional package."""
        if report.skipped:
            self._skipped_files[report.nodeid] = _reason(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one case of a test function."""
        file, _, name = report.nodeid.partition("::")
        key = (file, name.partition("[")[0])
        if report.failed:
            self._cases[key]["FAILED"] += 1
        elif report.skipped:
            self._cases[key][f"skipped: {_reason(report)}"] += 1
        elif report.when == "call":
            self._cases[key]["held"] += 1

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        results = {key: _summary(cases) for key, cases in self._cases.items()}
        for fault in reliability.faults():
            if fault.file in self._skipped_files:
                reason = f"skipped: {self._skipped_files[fault.file]}"
                results.update({(fault.file, promise.test): reason for promise in fault.promises})
        reliability.DOCUMENT.write_text(reliability.document(results), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option; pytest knows it when its arguments name tests/faults."""
    parser.addoption("--write-reliability", action="store_true", help="write docs/reliability.md from this run")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and collect results if the page is to be written."""
    config.addinivalue_line("markers", "promise(code, recovers): columns of docs/reliability.md")
    if config.getoption("--write-reliability", default=False):
        config.pluginmanager.register(Results())


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    """Why pytest skipped it; `longrepr` is (file, line, message)."""
    message = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return message.removeprefix("Skipped: ")


def _summary(cases: Counter[str]) -> str:
    """One function's results: "held in 3 cases", "2 held; 1 FAILED"."""
    if len(cases) == 1:
        ((result, count),) = cases.items()
        return f"held in {count} cases" if result == "held" and count > 1 else result
    return "; ".join(
        f"{result} in {count} cases" if count > 1 else f"{result} in 1 case" for result, count in cases.items()
    )
