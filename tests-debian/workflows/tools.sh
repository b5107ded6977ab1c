#!/bin/sh -e
# netCDF's and HDF5's own tools: nccopy, ncgen, ncdump, h5repack, h5copy, h5dump, h5ls, h5diff.
cat >in.cdl <<'CDL'
netcdf in {
types: compound pair { int i ; double d ; } ; int(*) list ; ubyte enum colour { red = 1, green = 2 } ;
dimensions: n = 3 ; t = UNLIMITED ;
variables:
  pair pairs(n) ; list lists(n) ; colour colours(n) ;
  short packed(t, n) ; packed:scale_factor = 0.5 ; packed:_ChunkSizes = 2, 3 ; packed:_DeflateLevel = 5 ;
  string texts(n) ; pair alone ; alone:note = "without dimensions" ;
data:
  pairs = {1, 1.5}, {2, 2.5}, {3, 3.5} ; lists = {1}, {2, 3}, {} ; colours = red, green, red ;
  packed = 1, 2, 3, 4, 5, 6, 7, 8, 9 ; texts = "a", "", "c" ; alone = {4, 4.5} ;
}
CDL
ncgen -4 -o in.nc in.cdl
ncdump in.nc
nccopy -d 9 -s -c n/2,t/1 in.nc copied.nc
ncdump -hs copied.nc | grep -E '_ChunkSizes|_Deflate|_Shuffle'
h5repack -f packed:GZIP=3 -l packed:CHUNK=3x3 in.nc repacked.nc
h5copy -i in.nc -o part.h5 -s /alone -d /elsewhere
h5copy -i in.nc -o part.h5 -s /alone -d /deep/alone -p
h5ls -rv part.h5 | grep -vE 'Location|Modified|Links|Storage'
for file in in copied repacked; do
    h5dump -H "$file.nc" | sed 1d
    h5diff in.nc "$file.nc" pairs pairs
    ncdump "$file.nc" | sed 1d
done
ncdump -k in.nc
