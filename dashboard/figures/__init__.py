"""Figures: from frames to plotly, without a page. Colours and grounds come from dashboard/look.py when one is shown."""
