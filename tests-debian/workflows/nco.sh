#!/bin/sh -e
# NCO's operators on a record variable, groups, chunks and compression; ncdump shows the results.
cat >in.cdl <<'CDL'
netcdf in {
dimensions: time = UNLIMITED ; x = 4 ;
variables:
  double time(time) ; time:units = "days since 2000-01-01" ;
  float v(time, x) ; v:units = "K" ; v:_FillValue = -1.f ;
  string name(x) ;
data:
  time = 0, 1, 2 ;
  v = 1, 2, 3, _, 5, 6, 7, 8, 9, 10, 11, 12 ;
  name = "one", "two", "three", "four" ;
group: inner {
  dimensions: y = 2 ;
  variables: int w(y) ; w:flag = 1b, 2b ;
  data: w = 7, 8 ;
}
}
CDL
ncgen -4 -o in.nc in.cdl
ncks -h --fix_rec_dmn x -O in.nc fixed.nc || ncks -h -O in.nc fixed.nc
ncap2 -h -4 -L 4 -O -s 'twice=v*2;twice@long_name="doubled";total=v.total($x)' in.nc calculated.nc
ncks -h -4 --cnk_dmn x,2 --cnk_dmn time,2 -L 1 -O calculated.nc chunked.nc
ncra -h -O calculated.nc mean.nc
ncrcat -h -O chunked.nc chunked.nc both.nc
ncwa -h -O -v v,total,twice -a x calculated.nc average.nc
ncrename -h -v twice,doubled chunked.nc
ncatted -h -a units,v,o,c,kelvin -a note,global,c,c,'a note' chunked.nc
ncks -h -A -v total calculated.nc mean.nc
ncbo -h -O --op_typ=sub both.nc both.nc zero.nc
for file in in fixed calculated chunked mean both average zero; do
    ncdump "$file.nc"
done
ncdump -hs chunked.nc | grep -E '_ChunkSizes|_DeflateLevel|_Shuffle'
ncks -h -H --trd -v v chunked.nc
