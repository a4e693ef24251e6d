"""From a trained version to what a small machine serves: an OpenVINO model in 4 or 8 bits, without torch."""
