"""The part of a report about points of several ranks: what is said, drawn and tabled of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.parallel_scaling import WAYS
from longbench_cli.present.html_table import lay_out
from longbench_cli.present.rank_figures import breakdown_figure, efficiency_figure, longest, time_figure
from longbench_cli.present.rank_series import Exchange, RankSeries, build_rank_series, exchanges_of
from longbench_cli.present.rank_tables import bandwidth_table, exchange_table, ranks_table, scaling_table
from longbench_cli.present.rank_words import core_notes, rank_sentences
from longbench_cli.present.tables import Table

if TYPE_CHECKING:
    from longbench_cli.record.journal import Run


@dataclass(frozen=True)
class RankSection:
    """Everything about points of several ranks, computed once for every output."""

    series: list[RankSeries]
    exchanges: list[Exchange]
    sentences: list[str]
    notes: list[str]

    def __bool__(self) -> bool:
        return bool(self.series or self.exchanges)

    def tables(self) -> dict[str, Table]:
        """Title to table, those that have rows."""
        tables = {
            "Scaling over ranks": scaling_table(self.series),
            "What the ranks exchange": exchange_table(self.exchanges),
            "Bandwidth of the collectives": bandwidth_table(self.exchanges),
        }
        return {title: table for title, table in tables.items() if table.rows}


def rank_section(runs: Sequence[Run]) -> RankSection:
    """What is to be said of the points of several ranks of ``runs``; false if there is none."""
    series, exchanges = build_rank_series(runs), exchanges_of(runs)
    notes = core_notes(runs) if series or exchanges else []
    return RankSection(series, exchanges, rank_sentences(series), notes)


def for_page(section: RankSection, first_place: int) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What the page's template and its script need of ``section``; the first is None if there is nothing.

    ``first_place`` is the first place in the page's legend that is free.
    """
    if not section:
        return None, {}
    looks = {one.label: one for one in section.series}
    place = {label: first_place + number for number, label in enumerate(looks)}
    figures: dict[str, Any] = {}
    ways = [way for way in WAYS if any(one.curve.way == way for one in section.series)]
    for way in ways:
        series = [one for one in section.series if one.curve.way == way]
        places = [place[one.label] for one in series]
        figures[f"{way}-time"] = time_figure(series, places).to_plotly_json()
        figures[f"{way}-efficiency"] = efficiency_figure(series, places).to_plotly_json()
    drawn = len(longest(section.exchanges))
    if drawn:
        figures["breakdown"] = breakdown_figure(section.exchanges).to_plotly_json()
    content = {
        "sentences": section.sentences,
        "notes": section.notes,
        "ways": ways,
        "legend": [
            {"place": place[label], "label": label, "color": one.color, "dash": one.dash}
            for label, one in looks.items()
        ],
        "tables": {title: lay_out(table) for title, table in section.tables().items()},
        "ranks": lay_out(ranks_table(section.exchanges)),
        "drawn": drawn,
        "left_out": sum(one.told is not None for one in section.exchanges) - drawn,
    }
    return content, figures
