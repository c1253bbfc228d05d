"""What can be measured: implementations, found by name, entry point or ``module:function``.

Nothing here imports torch; an implementation's code is loaded when :attr:`Implementation.load` is
called. That keeps planning (and ``longbench --help``) fast.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from attention_impls.distributed.sharding import Spans
from attention_impls.distributed.traffic import Traffic
from attention_impls.pattern import Cost, FullPattern, Pattern
from attention_impls.shape import AttentionShape
from attention_impls.streams import Stream

Options = Mapping[str, Any]
"""Option name to a JSON value, for example ``{"segments": [2048], "dilations": [1]}``."""

ENTRY_POINT_GROUP = "longbench.impls"


class UnknownImplementation(ValueError):
    """No implementation goes by that name, or its module or function cannot be imported."""


class Unsupported(ValueError):
    """The implementation is defined, but not for this shape, dtype, device or option."""


def _no_details(_shape: AttentionShape, _options: Options) -> dict[str, Any]:
    return {}


def none_idle(_options: Options) -> frozenset[str]:
    """The ``idle`` of an implementation whose options always count."""
    return frozenset()


def never_refused(_shape: AttentionShape, _options: Options, _chunk: int, _rows: int) -> str | None:
    """The ``refuse_stream`` of an implementation that streams whatever it is given, or nothing."""
    return None


def _full(shape: AttentionShape, _options: Options) -> Pattern:
    return FullPattern(shape)


@dataclass(frozen=True, slots=True)
class Work:
    """What one pass of a model does and holds.

    Attributes:
        cost: ``flops`` counts two a parameter and token for the matrix products with weights, and the
            attention's own; ``dense_flops`` the same with full causal attention in its place.
        parameters: how many numbers the model learns.
        input_bytes: of the token ids.
        peak_bytes: predicted, everything resident: weights, gradients, optimiser state, activations.
    """

    cost: Cost
    parameters: int
    input_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """What makes an implementation a language model: token ids in, logits out.

    Attributes:
        load: imports and returns ``f(shape, options, *, backend, device, dtype, seed)``, which makes a
            ``torch.nn.Module`` of that dtype whose parameters are drawn from ``seed`` and whose
            ``forward(tokens)`` takes (batch, seq) int64 and returns logits (batch, seq, vocab).
        load_reference: imports and returns ``f(parameters, tokens, shape, options)``: the same logits in
            float64, written out plainly and apart from the module; ``parameters`` is its state dict in
            float64, and the result is differentiable in it. ``shape`` and ``options`` are those the module
            was made with, though ``tokens`` may be shorter.
        vocab: number of token ids.
        shape: the shape it really has: causal, and with the heads of a preset.
        work: of a pass ("fwd", "bwd", "fwd+bwd" or "step") for a shape, options and bytes an element.
        reference_tokens: a length, short enough for the reference, at which every part of the model acts.
    """

    load: Callable[[], Callable[..., Any]]
    load_reference: Callable[[], Callable[..., Any]]
    vocab: Callable[[Options], int]
    shape: Callable[[AttentionShape, Options], AttentionShape]
    work: Callable[[AttentionShape, Options, str, int], Work]
    reference_tokens: Callable[[AttentionShape, Options], int]


@dataclass(frozen=True, slots=True)
class Parallel:
    """How the ranks of a ``world_size`` share one sequence. Everything but ``load`` is arithmetic, without torch.

    Attributes:
        algorithms: names, the default first; more than one where the option ``parallel`` chooses.
        refuse: why a shape with its world size cannot be shared with such options; None if it can.
        spans: the tokens of a rank.
        traffic: what every rank exchanges in one iteration of a pass ("fwd", "bwd" or "fwd+bwd"), a rank each,
            given bytes an element.
        pairs: (batch, head, query, key) pairs that every rank computes in a forward, a rank each.
        load: imports and returns ``f(q, k, v, *, comm, shape, backend, causal, return_lse=False, **options)``, on
            this rank's tensors (batch, its tokens, heads, head_dim) and a
            :class:`~attention_impls.distributed.comm.Communicator`; ``shape`` is that of the whole sequence. The
            result is this rank's output, differentiable; every rank calls it, and its backward.
    """

    algorithms: tuple[str, ...]
    refuse: Callable[[AttentionShape, Options], str | None]
    spans: Callable[[AttentionShape, Options, int], Spans]
    traffic: Callable[[AttentionShape, Options, str, int], tuple[Traffic, ...]]
    pairs: Callable[[AttentionShape, Options], tuple[int, ...]]
    load: Callable[[], Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Implementation:
    """One attention, or model, that can be planned, verified and timed.

    Attributes:
        name: as given on the command line and recorded.
        summary: one line for ``longbench list impls``.
        load: imports and returns ``f(q, k, v, *, causal, **options)``; with ``takes_backend`` also
            ``backend=``. Tensors are (batch, seq, heads, head_dim); the result is the output.
        pattern: which keys each query sees for a shape and options. Raises ValueError on options
            that do not fit.
        details: what the options come to at a shape (segment lengths, say), for the record.
        defaults: the options it takes, with their defaults.
        idle: those of its options that have no effect beside the others: ``columns`` of a strided pattern, say.
        takes_backend: whether it runs on the kernels of :mod:`attention_impls.kernels`.
        load_stream: imports and returns ``f(shape, options, device, dtype, backend, chunk, rows)``, which
            makes a :class:`~attention_impls.streams.Stream` of chunks of at most ``chunk`` tokens that
            keeps at most ``rows`` rows of what spans chunks; None if it cannot be streamed.
        refuse_stream: why a shape and options cannot be streamed in chunks of at most so many tokens that keep at
            most so many rows of what spans chunks; None if they can. Arithmetic, without torch.
        parallel: how ranks share its sequence; None if that is not defined for it. The ranks of a model share
            the batch instead.
        not_parallel: why there is no ``parallel``.
        model: None for an attention; with it neither ``load`` nor ``pattern`` is looked at.
    """

    name: str
    summary: str
    load: Callable[[], Callable[..., Any]]
    pattern: Callable[[AttentionShape, Options], Pattern] = _full
    details: Callable[[AttentionShape, Options], dict[str, Any]] = _no_details
    defaults: Options = field(default_factory=dict)
    idle: Callable[[Options], frozenset[str]] = none_idle
    takes_backend: bool = False
    load_stream: Callable[[], Callable[..., Stream]] | None = None
    refuse_stream: Callable[[AttentionShape, Options, int, int], str | None] = never_refused
    parallel: Parallel | None = None
    not_parallel: str = "it says nothing of how ranks share a sequence (attention_impls.api.Parallel)"
    model: Model | None = None

    @property
    def kind(self) -> Literal["op", "model"]:
        """``op``: q, k, v in, out. ``model``: token ids in, logits out."""
        return "op" if self.model is None else "model"


def _builtin() -> dict[str, Implementation]:
    from attention_impls.dilated.spec import DILATED
    from attention_impls.models.block_recurrent_spec import BLOCK_RECURRENT
    from attention_impls.models.hierarchical_spec import HIERARCHICAL
    from attention_impls.models.longnet_spec import LONGNET
    from attention_impls.models.transformer_spec import TRANSFORMER
    from attention_impls.sparse.spec import SLIDING_WINDOW, SPARSE
    from attention_impls.vanilla_spec import VANILLA

    return {
        impl.name: impl
        for impl in (VANILLA, DILATED, SPARSE, SLIDING_WINDOW, LONGNET, TRANSFORMER, BLOCK_RECURRENT, HIERARCHICAL)
    }


def implementations() -> dict[str, Implementation]:
    """Every implementation known by name: ours, then those of installed packages.

    An installed package adds one with an entry point in the group ``longbench.impls`` whose value
    is an :class:`Implementation` or a function ``f(q, k, v, *, causal)``. A built-in name wins.
    """
    found = _builtin()
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(point.name, _lazy_entry_point(point))
    return found


def get_implementation(name: str) -> Implementation:
    """The implementation called ``name``, an installed package's, or the one at ``package.module:function``.

    Raises:
        UnknownImplementation: nothing goes by that name, or it does not import.
    """
    if ":" in name:
        return _from_path(name)
    found = _builtin().get(name)
    if found is not None:
        return found
    point = next(iter(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=name)), None)
    if point is not None:
        return _from_entry_point(point)
    raise UnknownImplementation(
        f"unknown implementation {name!r}: choose from {', '.join(sorted(implementations()))}, "
        "or give your own as package.module:function"
    )


def _lazy_entry_point(point: importlib.metadata.EntryPoint) -> Implementation:
    """What can be told without importing the package; :func:`get_implementation` imports it."""
    return Implementation(
        name=point.name,
        summary=f"from {point.value}",
        load=lambda: _from_entry_point(point).load(),
        pattern=lambda shape, options: _from_entry_point(point).pattern(shape, options),
        details=lambda shape, options: _from_entry_point(point).details(shape, options),
    )


def _from_entry_point(point: importlib.metadata.EntryPoint) -> Implementation:
    try:
        target = point.load()
    except Exception as error:  # whatever the package raises while it is imported
        raise UnknownImplementation(
            f"implementation {point.name!r} ({point.value}) does not import: {type(error).__name__}: {error}"
        ) from error
    return _as_implementation(point.name, target)


def _from_path(path: str) -> Implementation:
    module_name, _, attribute = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` has it; a console script does not
        sys.path.insert(0, here)
    try:
        target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except Exception as error:  # whatever a user's module raises while it is imported
        raise UnknownImplementation(
            f"implementation {path!r} does not import: {type(error).__name__}: {error}"
        ) from error
    return _as_implementation(path, target)


def _as_implementation(name: str, target: Any) -> Implementation:
    """Wrap a plain function; its ``pattern`` attribute, if it has one, declares what it computes."""
    if isinstance(target, Implementation):
        return replace(target, name=name)  # found again by the name it was asked for
    if not callable(target):
        raise UnknownImplementation(f"implementation {name!r} is not callable: it is {type(target).__name__}")
    summary = (target.__doc__ or "").strip().splitlines()
    return Implementation(
        name=name,
        summary=summary[0] if summary else "a function f(q, k, v, *, causal)",
        load=lambda: target,
        pattern=getattr(target, "pattern", _full),
    )
