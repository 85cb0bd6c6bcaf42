"""The fuzzer finds planted faults and repeats its cases; in the package it finds nothing, in a moment each.

CI runs it for two minutes besides, with fresh cases (.ci/run).
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lib_facerestore.errors import InputError

if not hasattr(os, "fork"):
    pytest.skip("the cases run in forked processes", allow_module_level=True)

from tools.fuzz import __main__ as command
from tools.fuzz import runner
from tools.fuzz.mutation import Mutator, Source
from tools.fuzz.runner import Target, run


def target(take: Callable[[bytes], None]) -> Target:
    return Target("planted", "", lambda: [b"0123456789" * 5], lambda _folder: take)


def test_the_same_seed_makes_the_same_cases() -> None:
    corpus = [b"a" * 50, b"b" * 70]
    first, again, other = (Mutator(corpus, seed) for seed in (3, 3, 4))
    cases = [first.case() for _ in range(200)]
    assert cases == [again.case() for _ in range(200)] != [other.case() for _ in range(200)]
    assert len(set(cases)) > 150


def test_values_follow_from_the_bytes_and_are_of_many_types() -> None:
    data = Mutator([bytes(range(256)) * 8], 1).case()
    assert [Source(data).value() for _ in range(9)] == [Source(data).value() for _ in range(9)]
    source = Source(random.Random(0).randbytes(60_000))
    assert {type(source.value()) for _ in range(3000)} >= {int, float, str, list, dict, bool, type(None)}
    assert Source(b"").below(5) == 0 and Source(b"").text() == ""


def test_results_refusals_and_findings_are_told_apart() -> None:
    def take(case: bytes) -> None:
        if len(case) % 3 == 1:
            raise InputError("too odd")
        if len(case) % 3 == 2:
            raise KeyError("planted")

    report = run(target(take), seed=1, cases=300)
    assert report.cases == 300 and report.results > 30 < report.refusals
    assert report.results + report.refusals < 300
    ((key, (case, text)),) = report.findings.items()
    assert key.startswith("KeyError test_fuzz.py:") and len(case) % 3 == 2 and "planted" in text


def test_a_refusal_without_words_is_a_finding() -> None:
    def take(case: bytes) -> None:
        raise InputError("")

    assert run(target(take), seed=1, cases=3).refusals == 0


def test_a_dead_process_is_a_finding_and_the_others_go_on(tmp_path: Path) -> None:
    def take(case: bytes) -> None:
        if len(case) == 51:
            os.kill(os.getpid(), signal.SIGKILL)

    report = run(target(take), seed=2, cases=100)
    assert report.cases == 100 and 90 < report.results < 100
    (found,) = report.findings
    assert "the process died" in found and len(report.findings[found][0]) == 51
    runner.save(tmp_path, target(take), report)
    assert [len(path.read_bytes()) for path in tmp_path.glob("*.bin")] == [51]


def test_a_case_that_hangs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SECONDS_A_CASE", 1)
    report = run(target(lambda case: time.sleep(60)), seed=1, cases=1)
    assert [key.split()[0] for key in report.findings] == ["TooSlowError"]


@pytest.mark.parametrize("name", command.TARGETS)
def test_nothing_is_found_in_the_package(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the same cases in every run, but for their number; with FACERESTORE_FUZZ_SECONDS longer, and with others."""
    seconds = os.environ.get("FACERESTORE_FUZZ_SECONDS")
    seed, environment = secrets.randbelow(2**31) if seconds else 20261128, dict(os.environ)
    ended = command.main(
        ["--targets", name, "--seconds", seconds or "0.5", "--seed", str(seed), "--findings", str(tmp_path)]
    )
    said = capsys.readouterr()
    assert f"seed {seed}" in said.out
    assert os.environ == environment, "only the cases' own processes are kept off the network"
    texts = "\n".join(path.read_text() for path in tmp_path.glob("*.txt"))
    assert ended == 0, f"python -m tools.fuzz --targets {name} --seed {seed}\n{said.err}\n{texts}"
    assert f"| {name} |" in said.out


def test_unknown_targets_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--targets", "nothing", "--cases", "1"])
    assert "there is no nothing; the targets are pictures" in capsys.readouterr().err
