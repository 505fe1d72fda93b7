"""`python3 -m unittest discover -s scripts` checks the arithmetic and that a page can be made."""

import unittest

from comparison import page, rows, stats


def run(rate, curve=()):
    latency = {"curve": list(curve), "count": 1000, "load_gap_max": 5.0, "p50": 10.0} if curve else None
    return {
        "unit": "messages in + out",
        "work_per_cpu_second": rate,
        "work_per_second": rate / 2,
        "server_use": {"rss_kib": 2048},
        "seconds": 2.0,
        "load": {"busy_share": 0.5, "waited_seconds": 0.1},
        "latency": latency,
        "command": "pinion bench pub",
    }


def conclude(name, **runs):
    row = next(row for row in rows.ROWS if row.id == name)
    return stats.conclude(row, {"runs": runs, "labels": {"a": "one", "b": "two"}}, False)


class Stats(unittest.TestCase):
    def test_ratio_says_how_many_times_better(self):
        self.assertEqual(stats.ratio({"a": 8, "b": 2}, True), 4)
        self.assertEqual(stats.ratio({"a": 2, "b": 8}, False), 4)

    def test_no_ratio_without_both(self):
        self.assertIsNone(stats.ratio({"a": 8}, True))
        self.assertIsNone(stats.ratio({"a": 8, "b": 0}, True))
        self.assertIsNone(conclude("pub", a=[run(5)])["metrics"][0]["ratio"])
        failed = conclude("pub", a=[run(5)], b=[run(1), {"error": "gone"}])
        self.assertIsNone(failed["metrics"][0]["ratio"])
        self.assertEqual(failed["errors"], ["two: gone"])

    def test_medians_of_rounds(self):
        row = conclude("pub", a=[run(9), run(1), run(8)], b=[run(2), run(2), run(100)])
        self.assertEqual(row["metrics"][0]["medians"], {"a": 8, "b": 2})
        self.assertEqual(row["metrics"][0]["ratio"], 4)

    def test_curve_takes_the_first_point_that_reaches(self):
        curve = [(0, 1), (50, 2), (99, 3), (100, 9)]
        self.assertEqual(stats.value_at(curve, 0), 1)
        self.assertEqual(stats.value_at(curve, 60), 3)
        self.assertEqual(stats.value_at(curve, 99.9), 9)
        self.assertEqual(len(stats.percents(1000)), 31)

    def test_numbers_have_three_digits(self):
        self.assertEqual(stats.show("count", 6_340_000), "6.34 M")
        self.assertEqual(stats.show("us", 12.34), "12.3 µs")
        self.assertEqual(stats.show("us", 4223), "4.22 ms")
        self.assertEqual(stats.show("kib", 19180), "18.7 MiB")
        self.assertEqual(stats.show("count", None), "–")

    def test_page_is_made_with_one_side_missing(self):
        curve = [(0, 1.0), (50, 2.0), (99, 3.0), (100, 9.0)]
        report = {
            "machine": {"date": "d", "processor": "p", "kernel": "k", "load average before": "2 0 0"},
            "sides": {"a": None, "b": {"label": "two", "binary": "x", "version": "1", "command": "x"}},
            "notes": ["one: not there"],
            "options": {"quick": True},
            "rows": [conclude("pub", b=[run(2)]), conclude("latency20k", b=[run(2, curve)])],
            "load_average_after": "0",
        }
        text = page.render(report)
        self.assertIn("Not measured: one: not there", text)
        self.assertNotIn("At a glance", text)
        self.assertIn("polyline", text)


if __name__ == "__main__":
    unittest.main()
