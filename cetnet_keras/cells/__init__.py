"""What the cells of files mean by the data spec, for training rows and for rows to be scored alike. Needs pyarrow."""
