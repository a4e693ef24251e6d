"""What lies in the bucket: training data and versions on their way."""
