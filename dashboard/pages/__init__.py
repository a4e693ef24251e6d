"""The tabs of the dashboard in gradio."""
