"""What `xrecon drr` does: views, projection, files, and the run over a folder of CTs."""
