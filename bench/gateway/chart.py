"""An SVG bar chart of CPU time per request: a bar per contender, with a line from its minimum to its maximum."""

from html import escape

from bench.gateway.contenders import BASELINE
from bench.gateway.load import ORDINARY
from bench.gateway.measuring import Measurements, Spread
from bench.gateway.report import GATEWAY, by_cost

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BAR = 820, 220, 90, 64, 30, 18
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.small{font-size:11px;fill:#57606a}"
    ".own{fill:#0969da}.peer{fill:#b6bec8}.spread{stroke:#24292f;stroke-width:1.5}"
    ".baseline{stroke:#cf222e;stroke-width:1;stroke-dasharray:4 3}"
)


def draw(measurements: Measurements) -> str:
    """The chart of the small requests, the cheapest contender on top."""
    bars = [
        (name, spread) for name in by_cost(measurements) if (spread := measurements.spread(ORDINARY.name, name, "cpu"))
    ]
    scale = (_WIDTH - _LEFT - _RIGHT) / max((spread.most for _, spread in bars), default=1)
    height = _TOP + _ROW * len(bars) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="16" y="24" font-weight="600">CPU microseconds per proxied request</text>',
        '<text x="16" y="44" class="small">user and system time of all the proxy\'s processes; median, least and '
        f"most of the rounds; dashed: {BASELINE}</text>",
    ]
    for number, (name, spread) in enumerate(bars):
        parts += _bar(name, spread, scale, _TOP + _ROW * number)
    if baseline := measurements.spread(ORDINARY.name, BASELINE, "cpu"):
        x = _LEFT + baseline.median * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{height - 12}" class="baseline"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(name: str, spread: Spread, scale: float, top: int) -> list[str]:
    middle = top + _BAR / 2
    least, most, median = (_LEFT + value * scale for value in (spread.least, spread.most, spread.median))
    kind = "own" if name.startswith(GATEWAY) else "peer"
    return [
        f'<text x="{_LEFT - 8}" y="{middle + 4:.0f}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{_LEFT}" y="{top}" width="{median - _LEFT:.1f}" height="{_BAR}" rx="2" class="{kind}"/>',
        f'<line x1="{least:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}" class="spread"/>',
        f'<text x="{max(most, median) + 8:.1f}" y="{middle + 4:.0f}">{spread.median:.1f}</text>',
    ]
