"""The numbers behind the plots, vectorised, without plotly."""
