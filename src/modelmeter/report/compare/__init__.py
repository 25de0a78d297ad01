"""Two results side by side: values joined by what they are of, their differences by size."""
