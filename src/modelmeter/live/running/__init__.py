"""`modelmeter run`: documents through the real model, its times beside the predicted ones, a folder of results."""
