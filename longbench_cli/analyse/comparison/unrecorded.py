"""Points that both sides planned and neither recorded: nobody knows how they would have compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError

from longbench_cli.analyse.comparison.sides import side_of
from longbench_cli.analyse.comparison.types import Mode, PointVerdict
from longbench_cli.analyse.comparison.verdict import combine
from longbench_cli.record.loading import Run
from longbench_cli.sweep.case import Case

_KEY: Final = re.compile(
    r"(?P<impl>.+)/(?P<backend>[^/]+)/(?P<pass_>[^/]+)/n(?P<seq_len>\d+)/b(?P<batch>\d+)/h(?P<heads>\d+)"
    r"/kv(?P<kv_heads>\d+)/d(?P<head_dim>\d+)/(?P<dtype>[^/]+)/(?P<mask>causal|full)/w(?P<world_size>\d+)"
    r"/(?P<device>[^/]+)(?P<options>(?:/[^/=]+=[^/]*)*)",
    re.ASCII,
)


def unrecorded(base: Sequence[Run], candidate: Sequence[Run], mode: Mode) -> list[PointVerdict]:
    """The verdicts on these points, in the order of the base's plan; a key that is none is left out."""
    plans = [dict.fromkeys(key for run in side for key in run.header.plan) for side in (base, candidate)]
    recorded = {point.key for run in (*base, *candidate) for point in run.points}
    nothing = side_of((), planned=True)
    return [
        combine(key, case, mode, nothing, nothing)
        for key in plans[0]
        if key in plans[1] and key not in recorded and (case := _case_of(key)) is not None
    ]


def _case_of(key: str) -> Case | None:
    """What a key says of its case; the values of options are left as text."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    said = found.groupdict()
    options = dict(one.split("=", 1) for one in said.pop("options").split("/") if one)
    causal = said.pop("mask") == "causal"
    try:
        return Case.model_validate({**said, "causal": causal, "options": options})
    except ValidationError:
        return None
