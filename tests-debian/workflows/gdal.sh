#!/bin/sh -e
# GDAL's drivers netCDF, HDF5, HDF5Image and BAG, and OGR's vector layers in netCDF. BAG files have a file driver of GDAL's own, so that
# they are native ones.
cat >in.asc <<'GRID'
ncols 4
nrows 3
xllcorner 10
yllcorner 50
cellsize 0.5
NODATA_value -9999
1 2 3 4
5 6 -9999 8
9 10 11 12.5
GRID
gdal_translate -q -a_srs EPSG:4326 -of netCDF -co FORMAT=NC4 -co COMPRESS=DEFLATE -co WRITE_GDAL_HISTORY=NO in.asc raster.nc
gdal_translate -q -a_srs EPSG:4326 -of netCDF -co FORMAT=NC4C -co WRITE_GDAL_HISTORY=NO in.asc classic.nc
gdal_translate -q -a_srs EPSG:32633 -a_ullr 500000 5000000 500004 4999997 -a_nodata 1000000 -of BAG \
    -co VAR_DATE=2026-01-02 -co VAR_DATETIME=2026-01-02T03:04:05 in.asc native.bag
gdalwarp -q -of netCDF -co FORMAT=NC4 -co WRITE_GDAL_HISTORY=NO -tr 0.25 0.25 raster.nc warped.nc
for file in raster.nc classic.nc warped.nc native.bag; do
    gdalinfo -checksum -stats --config GDAL_PAM_ENABLED NO "$file"
done
gdalinfo -checksum HDF5:raster.nc://Band1
gdal_translate -q -of AAIGrid HDF5:raster.nc://Band1 out.asc
cat out.asc
cat >points.csv <<'CSV'
id,name,wkt
1,one,POINT (1 2)
2,two,POINT (3 4)
CSV
ogr2ogr -f netCDF -dsco FORMAT=NC4 -lco RECORD_DIM_NAME=n points.nc points.csv -oo GEOM_POSSIBLE_NAMES=wkt \
    -dsco GEOMETRY_ENCODING=WKT
ncatted -h -a history,global,d,, points.nc # it has the time
ogrinfo -al -q points.nc
