"""The measured documents as Markdown."""

from typing import Any

Document = dict[str, Any]


def figure(value: float) -> str:
    """Return a number with three significant digits, and without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def markdown(document: Document) -> str:
    """Return the whole report."""
    machine = document["machine"]
    where = (
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gib']:.0f} GiB, "
        f"Linux {machine['kernel']}, Python {machine['python']}. Load average at the start "
        f"{machine['load_at_start']:.1f}, at the end {machine['load_at_end']:.1f}. "
        f"{document['rounds']} rounds, sides in turn."
    )
    lines = [
        f"# Measured on {document['date']}",
        "",
        where,
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in document["versions"].items()) + ".",
        "",
    ]
    rows = document["rows"]
    lines += [*table(rows), "", *goals(rows)]
    if document["failed"]:
        lines += ["", "Not measured: " + "; ".join(f"{name} ({why})" for name, why in document["failed"].items()) + "."]
    if document["repeated"]:
        again = "; ".join(f"{name} ({why})" for name, why in document["repeated"].items())
        lines += ["", f"Failed once and measured again: {again}."]
    notes = [(c["what"], note) for comparisons in rows.values() for c in comparisons for note in c["notes"]]
    lines += ["", *(f"- {what}: {note}" for what, note in notes)]
    return "\n".join(lines) + "\n"


def table(rows: dict[str, list[Document]]) -> list[str]:
    """Return the table of all sides: the ratio is ours over that side's, with its extremes over single rounds."""
    lines = [
        "| row | what | side | n | median | min | max | p99 | unit | ours ÷ this (per round) |",
        "|---|---|---|--:|--:|--:|--:|--:|---|---|",
    ]
    for name, comparisons in rows.items():
        for comparison in comparisons:
            for index, (side, facts) in enumerate(comparison["sides"].items()):
                what = (name, comparison["what"]) if index == 0 else ("", "")
                figures = [figure(facts[key]) for key in ("median", "min", "max", "p99")]
                times = facts.get("ratio")
                compared = (
                    f"{figure(times['value'])} ({figure(times['low'])} to {figure(times['high'])})" if times else ""
                )
                cells = [*what, side, str(facts["n"]), *figures, comparison["unit"], compared]
                lines.append("| " + " | ".join(cells) + " |")
    return lines


def goals(rows: dict[str, list[Document]]) -> list[str]:
    """Return the table of goals; a ratio goal's figure is the ratio."""
    lines = ["| goal | measured | limit | met |", "|---|--:|--:|---|"]
    for comparisons in rows.values():
        for comparison in comparisons:
            for goal in comparison["goals"]:
                met = "yes" if goal["is_met"] else "**no**"
                lines.append(f"| {goal['text']} | {figure(goal['value'])} | {figure(goal['limit'])} | {met} |")
    return lines
