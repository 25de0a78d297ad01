"""`modelmeter measure`: FLOPs and times of the real model over lengths of the prompt."""
