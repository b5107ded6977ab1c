#!/bin/sh -e
# CDO's operators on a grid and a series, compressed; infon and output show the results.
cdo="cdo -s --no_history"
$cdo -f nc4 -z zip_4 -expr,'t=20*sin(rad(clon(const)))*cos(rad(clat(const)))' -const,1,r36x18 grid.nc
$cdo -f nc4 -settaxis,2000-01-01,00:00:00,1day -for,1,40 series.nc
$cdo -f nc4 -k grid -remapbil,r18x9 grid.nc coarse.nc
$cdo -f nc4 -zonmean grid.nc zonal.nc
$cdo -f nc4c -addc,1 grid.nc classic.nc
$cdo -f nc4 -monmean series.nc monthly.nc
$cdo -f nc4 -merge -chname,t,u grid.nc -chname,t,v -mulc,2 grid.nc merged.nc
$cdo -f nc4 -seltimestep,5/9 series.nc part.nc
$cdo -f nc4 -cat part.nc -shifttime,5days part.nc longer.nc
$cdo diffn grid.nc grid.nc
for file in grid series coarse zonal classic monthly merged part longer; do
    $cdo infon "$file.nc"
    $cdo sinfon "$file.nc" | grep -v 'File format'
done
$cdo griddes coarse.nc
$cdo output -fldmean merged.nc
