"""A model as a subject: what each pass runs, on which tokens, from which parameters."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from worker_process import work

from attention_impls.api import Unsupported
from attention_impls.kernels.math import MATH
from longbench_cli.measure import pick, point, sampling
from longbench_cli.measure.gate import Gate
from longbench_cli.measure.model_passes import LOSS_SCALE, RunningModel, next_token_loss
from longbench_cli.measure.point import measure_point
from longbench_cli.measure.sampling import Trial, sample
from longbench_cli.measure.streamed_point import measure_streamed_point
from longbench_cli.measure.subjects import subject_of
from longbench_cli.measure.tokens import TokenSource
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

PASSES = ("fwd", "bwd", "fwd+bwd", "step")
QUICK = Settings(max_time=0.01, precision=0.9, min_iterations=3, max_iterations=6, threads=1)


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of small models, with nothing made yet."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "fixtures")
    import tiny_models

    tiny_models.made.clear()
    return tiny_models


def case(**change: Any) -> Case:
    values: dict[str, Any] = {
        "impl": "tiny_models:right", "backend": "auto", "pass": "fwd", "seq_len": 100, "batch": 2, "heads": 1,
        "kv_heads": 1, "head_dim": 8, "dtype": "float32", "causal": True, "world_size": 1, "device": "cpu",
        "options": {},
    }  # fmt: skip
    return Case.model_validate(values | change)


def running(tiny_models: Any, pass_: str, dtype: str = "float32") -> RunningModel:
    make = tiny_models.right.model.load()
    module = make(None, {}, backend=None, device="cpu", dtype=getattr(torch, dtype), seed=3)
    return RunningModel(case(dtype=dtype, **{"pass": pass_}), module)


def values_of(model: RunningModel) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.parameters.items()}


def tokens_of(seed: int = 0) -> Tensor:
    return TokenSource(case(), 11, seed).draw()


def plain_gradients(model: RunningModel, tokens: Tensor) -> dict[str, Tensor]:
    logits = model.module(tokens)
    loss = cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    found = torch.autograd.grad(loss, list(model.parameters.values()), allow_unused=True)
    return {name: g for name, g in zip(model.parameters, found, strict=True) if g is not None}


def test_forward_gives_logits_without_a_graph(tiny_models: Any) -> None:
    model, tokens = running(tiny_models, "fwd"), tokens_of()
    logits = model.work(tokens)()
    assert logits.shape == (2, 100, 11)
    assert not logits.requires_grad
    assert not model.module.training
    assert [graph for _, graph in model.module.seen] == [False]
    assert torch.equal(logits, model.module(tokens))


def test_backward_goes_through_one_forward_again_and_again(tiny_models: Any) -> None:
    model, tokens = running(tiny_models, "bwd"), tokens_of()
    before, work_once = values_of(model), model.work(tokens)
    first, second = work_once(), work_once()
    assert len(model.module.seen) == 1
    assert model.module.training
    expected = plain_gradients(model, tokens)
    for name, a, b in zip(model.parameters, first, second, strict=True):
        assert (a is None) == (name == "unused")
        if a is not None:
            assert torch.equal(a, b)
            torch.testing.assert_close(a, expected[name])
    assert all(torch.equal(p, before[name]) for name, p in model.parameters.items())


def test_forward_and_backward_run_both_each_time(tiny_models: Any) -> None:
    model, tokens = running(tiny_models, "fwd+bwd"), tokens_of()
    before, work_once = values_of(model), model.work(tokens)
    assert model.module.seen == []
    work_once()
    found = dict(zip(model.parameters, work_once(), strict=True))
    assert len(model.module.seen) == 2
    for name, expected in plain_gradients(model, tokens).items():
        torch.testing.assert_close(found[name], expected)
    assert all(torch.equal(p, before[name]) for name, p in model.parameters.items())


def test_a_step_moves_every_learned_parameter_against_its_gradient(tiny_models: Any) -> None:
    model, tokens = running(tiny_models, "step"), tokens_of()
    start = values_of(model)
    drawn = values_of(running(tiny_models, "fwd"))
    assert all(torch.equal(value, drawn[name]) for name, value in start.items())
    gradients = plain_gradients(model, tokens)
    model.module.seen.clear()
    work_once = model.work(tokens)
    assert model.module.seen == []
    work_once()
    moved = {name: (p - start[name]).detach() for name, p in model.parameters.items()}
    for name, gradient in gradients.items():
        clear = gradient.abs() > 1e-3
        assert clear.any()
        assert torch.equal(moved[name].sign()[clear], -gradient.sign()[clear])
    after_one = values_of(model)
    work_once()
    assert len(model.module.seen) == 2
    assert not torch.equal(model.parameters["embed.weight"], after_one["embed.weight"])
    assert model.optimiser is not None
    state = model.optimiser.state[model.parameters["embed.weight"]]
    assert int(state["step"]) == 1 + 2  # one of no length made the state
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters.values())


def test_the_optimiser_has_its_state_and_it_counts_before_the_first_step(tiny_models: Any) -> None:
    plain, stepping = running(tiny_models, "fwd"), running(tiny_models, "step")
    learned = sum(p.nbytes for p in plain.parameters.values())
    buffers = sum(b.nbytes for b in plain.module.buffers())
    assert plain.nbytes == learned + buffers
    counters = 4 * len(plain.parameters)
    assert stepping.nbytes == 3 * learned + buffers + counters


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_hundreds_of_steps_in_half_precision_stay_finite(tiny_models: Any, dtype: str) -> None:
    model = running(tiny_models, "step", dtype)
    source = TokenSource(case(), 11, 0)
    for _ in range(200):
        model.work(source.draw())()
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters.values())


def test_the_loss_is_the_mean_over_next_tokens_in_fp32() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 9, 5, generator=random).to(torch.bfloat16)
    tokens = torch.randint(5, (3, 9), generator=random)
    kept = tokens.clone()
    expected = cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten())
    loss = next_token_loss(logits, tokens)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
    assert torch.equal(tokens, kept)
    assert next_token_loss(logits.double(), tokens).dtype == torch.float64


def test_gradients_are_scaled_up_in_fp16_only(tiny_models: Any) -> None:
    model, tokens = running(tiny_models, "bwd", "float16"), tokens_of()
    found = model.gradients(model.module(tokens), tokens)["embed.weight"]
    assert found is not None
    expected = plain_gradients(running(tiny_models, "bwd"), tokens)["embed.weight"]
    torch.testing.assert_close(found.float() / LOSS_SCALE["float16"], expected, rtol=0.05, atol=1e-3)
    assert LOSS_SCALE["float16"] > LOSS_SCALE["bfloat16"] == LOSS_SCALE["float32"] == 1


def test_tokens_are_all_ids_drawn_anew_into_other_places() -> None:
    source = TokenSource(case(), 11, 7)
    draws = [source.draw() for _ in range(12)]
    assert all(draw.shape == (2, 100) and draw.dtype == torch.int64 for draw in draws)
    assert set(torch.cat(draws).flatten().tolist()) == set(range(11))
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], TokenSource(case(), 11, 7).draw())
    assert len({draw.storage_offset() for draw in draws}) > 3


@pytest.mark.parametrize("pass_", PASSES)
def test_a_model_is_verified_timed_and_accounted_for(tiny_models: Any, pass_: str) -> None:
    result = measure_point(case(**{"pass": pass_}), QUICK, lambda *_: None, Gate())
    assert result["status"] == "ok", result
    assert result["backend"] == "none"
    assert result["verification"]["status"] == "passed"
    assert len(result["latency"]["iterations_ns"]) >= 3
    assert result["memory"]["input_bytes"] == 2 * 100 * 8
    assert result["cost"]["flops"] == 200 * {"fwd": 1, "bwd": 2, "fwd+bwd": 3, "step": 3}[pass_]
    assert result["cost"]["dense_flops"] == 2 * result["cost"]["flops"]


def test_each_trial_has_tokens_of_its_own(tiny_models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "TURN_NS", 1)  # a trial is one iteration,
    monkeypatch.setattr(sampling, "SHORT_NS", 0)  # the first
    measure_point(case(), QUICK, lambda *_: None, Gate())
    timed = [tokens for tokens, _ in tiny_models.made[-1].seen[-3:]]
    assert len({tuple(tokens.flatten().tolist()) for tokens in timed}) == 3


@pytest.mark.parametrize("pass_", PASSES)
def test_steps_are_timed_from_parameters_as_they_were_drawn(
    tiny_models: Any, monkeypatch: pytest.MonkeyPatch, pass_: str
) -> None:
    """Verification steps, and so spoils what it verified; every other pass keeps its module."""
    starts: list[dict[str, Tensor]] = []
    trials = point._trials

    def spy(*arguments: Any) -> Iterator[Trial]:
        starts.append({name: p.detach().clone() for name, p in tiny_models.made[-1].named_parameters()})
        return trials(*arguments)

    monkeypatch.setattr(point, "_trials", spy)
    measure_point(case(**{"pass": pass_}), QUICK, lambda *_: None, Gate())
    fresh = dict(tiny_models.TinyModel(None, None, "cpu", torch.float32, QUICK.seed).named_parameters())
    assert starts[0].keys() == fresh.keys()
    assert all(torch.equal(starts[0][name], p) for name, p in fresh.items())
    verified, timed = tiny_models.made[0], tiny_models.made[-2]  # the last one is ours
    assert (verified is timed) == (pass_ != "step")


@pytest.mark.parametrize("pass_", ["fwd", "step"])
def test_parameters_and_optimiser_state_count_as_memory_of_the_pass(
    tiny_models: Any, monkeypatch: pytest.MonkeyPatch, pass_: str
) -> None:
    """They are held before the pass begins, and so would be missed by what is held more at its peak."""
    baselines: list[int] = []

    def peak(device: str, baseline: int, work: Callable[[], Any]) -> int:
        baselines.append(baseline)
        work()
        return 10**9 - baseline

    monkeypatch.setattr(point, "held_bytes", lambda device: 10**9)
    monkeypatch.setattr(point, "peak_bytes", peak)
    result = measure_point(case(**{"pass": pass_}), QUICK, lambda *_: None, Gate())
    learned = sum(p.nbytes for p in tiny_models.made[0].parameters())
    assert 10**9 - baselines[0] == result["memory"]["peak_bytes"]
    assert 10**9 - baselines[0] >= learned * (3 if pass_ == "step" else 1)


def test_the_back_end_is_picked_by_a_trial_of_the_model_on_few_tokens(
    tiny_models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Scripted:
        """The second back end's iterations take less."""

        def bind(self, work: Callable[[], Any]) -> Callable[[], int]:
            def iteration() -> int:
                work()
                return {"slow": 5, "fast": 3}[tiny_models.made[-1].backend]

            return iteration

    kernels = [replace(MATH, name=name, fused=True) for name in ("slow", "fast")]
    monkeypatch.setattr(pick, "supported_backends", lambda *_: kernels)
    monkeypatch.setattr(pick, "timer_for", lambda _device, _settings: Scripted())
    long = case(impl="tiny_models:on_kernels", seq_len=5000, **{"pass": "step"})
    assert pick.pick_backend(long, QUICK) == "fast"
    assert [module.backend for module in tiny_models.made] == ["slow", "fast"]
    assert {tokens.shape for module in tiny_models.made for tokens, _ in module.seen} == {(1, 4096)}


def test_a_model_that_takes_no_back_end_gets_none(tiny_models: Any) -> None:
    subject_of(case(), "none", 0)
    subject_of(case(impl="tiny_models:on_kernels"), "math", 0)
    assert [module.backend for module in tiny_models.made] == [None, "math"]


@pytest.mark.parametrize("measure", [partial(measure_point, gate=Gate()), measure_streamed_point])
def test_an_attention_takes_no_step(measure: Callable[..., Any]) -> None:
    options = {"segments": [32], "dilations": [1]}
    with pytest.raises(Unsupported, match=r"^step is an optimiser step: only models have parameters$"):
        measure(case(impl="dilated", options=options, **{"pass": "step"}), QUICK, lambda *_: None)


def test_a_model_is_not_streamed() -> None:
    with pytest.raises(Unsupported, match="tiny_models:right cannot be streamed"):
        measure_streamed_point(case(), QUICK, lambda *_: None)


def test_one_token_has_no_next_one() -> None:
    assert measure_point(case(seq_len=1), QUICK, lambda *_: None, Gate())["status"] == "ok"
    with pytest.raises(Unsupported, match="a next-token loss needs at least 2 tokens"):
        measure_point(case(seq_len=1, **{"pass": "bwd"}), QUICK, lambda *_: None, Gate())


def test_a_trial_is_gone_before_the_next_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two graphs of a model at once may be more than the memory holds."""
    monkeypatch.setattr(sampling, "TURN_NS", 1)
    alive: list[weakref.ref[Any]] = []

    class Graph:
        def run(self) -> int:
            return 1000

    def run_of_new_graph() -> Callable[[], int]:
        assert all(graph() is None for graph in alive)
        graph = Graph()
        alive.append(weakref.ref(graph))
        return graph.run

    def trials() -> Iterator[Trial]:
        while True:
            yield Trial(run_of_new_graph())

    sample(trials(), QUICK, lambda: 0)
    assert len(alive) >= 3


def test_a_worker_measures_a_model() -> None:
    tiny = {"impl": "tiny_models:right", "heads": 1, "kv_heads": 1, "head_dim": 8, "causal": True}
    result, done = work(**tiny, seq_len=300, dtype="bfloat16", **{"pass": "step"})
    assert result is not None, done.stderr.decode()
    assert result["status"] == "ok", result
    assert (result["execution"], result["verification"]["status"]) == ("resident", "passed")
    assert result["memory"]["input_bytes"] == 300 * 8
    assert result["memory"]["peak_bytes"] > 0
