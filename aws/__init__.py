"""Where work runs and where files live in the cloud."""
