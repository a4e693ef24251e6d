"""The commands of deploy_aws.py, one file for each purpose; they ask, print and give the exit code."""
