"""Who somebody is: the cast as the files have it, edited and saved."""
