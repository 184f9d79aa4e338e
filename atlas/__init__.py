"""atlas: the array store for fleets of datasets."""
