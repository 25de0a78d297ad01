"""Times of pages on a device: as data, as tables, as a Chrome trace, as a roofline plot."""
