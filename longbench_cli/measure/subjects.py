"""What a point measures: an attention or a model, seen alike by all that picks, verifies and times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from attention_impls.api import get_implementation
from longbench_cli.measure.model_subject import ModelSubject
from longbench_cli.measure.op_subject import OpSubject
from longbench_cli.measure.verify import Verified
from longbench_cli.sweep.case import Case

Drawn = TypeVar("Drawn")


class Subject(Protocol[Drawn]):
    """A case's implementation on a back end, and what it is run on: ``Drawn`` has ``nbytes``."""

    @property
    def held_bytes(self) -> int:
        """Bytes of what lives as long as the subject: parameters, optimiser state."""
        ...

    def draw(self) -> Drawn:
        """The next inputs, in fresh memory."""
        ...

    def work(self, drawn: Drawn) -> Callable[[], Any]:
        """The timed work of one iteration of the case's pass; what is not timed of it happens here."""
        ...

    def load_code(self) -> None:
        """Run a tiny shape, so that loading libraries and starting threads is no part of peak memory."""
        ...

    def verify(self, drawn: Drawn) -> Verified:
        """Run the pass and compare it with float64."""
        ...

    def renew(self) -> None:
        """Undo what running the pass did to the subject."""
        ...


def subject_of(case: Case, backend: str, seed: int) -> Subject[Any]:
    """The subject of ``case`` on ``backend``; its inputs, and parameters, are drawn from ``seed``.

    Raises:
        Unsupported: it does not do this case.
    """
    implementation = get_implementation(case.impl)
    if implementation.model is None:
        return OpSubject(case, backend, seed)
    return ModelSubject(case, implementation.model, backend if implementation.takes_backend else None, seed)
