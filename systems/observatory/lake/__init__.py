"""Building, deploying and driving the observatory's data lake."""
