"""The analysis of a series as pages: plots that can be read, switched to dark, saved and clicked.

series_tab.py, themes_tab.py in pages/   tabs beside the chat
figures/                                 frames to plotly figures, without a page
statistics/                              the numbers behind them, without plotly
"""
