"""The report of a run: figures, and one offline HTML page that shows them with the scores and what made them.

What lives here: `maps`, `curves`, `style`, the `summary` in words, the `page`. What does not: choosing the example,
scores (`verification`) and sending figures anywhere (`registry`).

    written = write_report(Path("report/report.html"), ReportContent("Demo", scorecard, truth, forecast, "sample 88"))
    written.figures["error"]    # report/figures/error.png
"""

from .comparison_page import ComparisonContent, write_comparison
from .content import gather
from .curves import correlation_curves, error_curves, skill_chart, skill_curves, training_curves
from .maps import field_maps, forecast_maps
from .night import NightContent, write_night
from .page import ReportContent, WrittenReport, write_report
from .poc import PocContent, write_poc
from .search_figure import search_figure
from .style import png
from .summary import in_words

__all__ = [
    "ComparisonContent",
    "NightContent",
    "PocContent",
    "ReportContent",
    "WrittenReport",
    "correlation_curves",
    "error_curves",
    "field_maps",
    "forecast_maps",
    "gather",
    "in_words",
    "png",
    "search_figure",
    "skill_chart",
    "skill_curves",
    "training_curves",
    "write_comparison",
    "write_night",
    "write_poc",
    "write_report",
]
