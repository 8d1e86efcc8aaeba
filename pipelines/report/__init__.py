"""Run folders -> one HTML page: `found` them, gather what they hold, count, draw, write."""
