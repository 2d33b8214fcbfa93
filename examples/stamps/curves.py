#!/usr/bin/python3
"""Curves of training runs as one SVG, each point the mean of some steps.

    curves.py OUT.svg TITLE NAME=metrics.jsonl...           runs beside each other
    curves.py OUT.svg TITLE NAME=metrics.jsonl... --chain   one behind the other, as they were run
    curves.py ... --key picture_found                       another figure than the loss"""
import argparse
import json

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 280, 48, 12, 14, 48
COLOURS = ("#0066cc", "#cc6600", "#008855", "#884488", "#aa2233", "#557700", "#007788")
EACH = 25  # steps to a point


def points_of(path, key):
    values = [json.loads(line).get(key, 0) for line in open(path, encoding="utf-8")]
    return [(min(i + EACH, len(values)), sum(values[i:i + EACH]) / len(values[i:i + EACH])) for i in range(0, len(values), EACH)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("title")
    parser.add_argument("runs", nargs="+", metavar="NAME=metrics.jsonl")
    parser.add_argument("--key", default="loss")
    parser.add_argument("--chain", action="store_true")
    options = parser.parse_args()
    curves, begin = [], 0
    for run in options.runs:
        name, path = run.split("=", 1)
        points = points_of(path, options.key)
        curves.append((name, begin, [(begin + x, y) for x, y in points]))
        begin += points[-1][0] if options.chain else 0
    steps = max(points[-1][0] for _, _, points in curves)
    highest = max(y for _, _, points in curves for _, y in points)
    top = 1 if options.key != "loss" and highest <= 1 else highest
    across = lambda x: LEFT + (WIDTH - RIGHT - LEFT) * x / steps
    down = lambda y: HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * y / top
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for part in range(5):
        y = top * part / 4
        lines.append(f'<path d="M{LEFT} {down(y):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/><text x="{LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end">{y:.2g}</text>')
    for number, (name, begin, points) in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        at = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in points)
        lines.append(f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="1.5"><title>{name}</title></polyline>')
        place = (across(begin) + 4, TOP + 12) if options.chain else (LEFT + 8 + 110 * number, HEIGHT - 8)
        if options.chain:
            lines.append(f'<path d="M{across(begin):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#bbb" stroke-dasharray="3"/>')
        turn = f' transform="rotate(90 {place[0]:.1f} {place[1]:.1f})"' if options.chain else ""
        lines.append(f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" fill="{colour}"{turn}>{name}</text>')
    lines.append(f'<text x="{LEFT}" y="{HEIGHT - BOTTOM + 16}">0</text><text x="{WIDTH - RIGHT}" y="{HEIGHT - BOTTOM + 16}" text-anchor="end">{steps} steps</text>')
    lines.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{options.title}</text></svg>')
    with open(options.out, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
