#!/bin/sh -e
# Debian's CGNS on files with links to other files: tests-c/cgns/grids.c, and what the files are then.
tcc -w -lcgns -run /usr/src/cgns/grids.c write .
tcc -w -lcgns -run /usr/src/cgns/grids.c read .
h5ls -r whole.cgns
h5dump -d "/Base/Own/GridCoordinates/CoordinateY/ data" whole.cgns
