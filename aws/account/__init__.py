"""What the project has in an AWS account: made, completed and removed."""
