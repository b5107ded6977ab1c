#!/usr/bin/python3
# VTK's readers of VTKHDF, which h5py writes, and of CGNS.
import subprocess

import h5py
import numpy as np
from vtkmodules.vtkIOCGNSReader import vtkCGNSReader
from vtkmodules.vtkIOHDF import vtkHDFReader


def show(data):
    print(data.GetClassName(), data.GetNumberOfPoints(), data.GetNumberOfCells(), data.GetBounds())
    for n in range(data.GetPointData().GetNumberOfArrays()):
        array = data.GetPointData().GetArray(n)
        print(array.GetName(), [array.GetTuple(k) for k in range(0, array.GetNumberOfTuples(), 5)])


with h5py.File("image.vtkhdf", "w") as f:
    root = f.create_group("VTKHDF")
    root.attrs["Version"] = (1, 0)
    root.attrs.create("Type", b"ImageData", dtype=h5py.string_dtype("ascii", len("ImageData")))
    root.attrs.create("WholeExtent", (0, 3, 0, 4, 0, 1))
    root.attrs.create("Origin", (1.0, 2.0, 3.0))
    root.attrs.create("Spacing", (0.5, 0.5, 0.5))
    root.attrs.create("Direction", np.eye(3).ravel())
    root.create_group("PointData").create_dataset("height", data=np.arange(40.0).reshape(2, 5, 4), chunks=(1, 5, 4), compression="gzip")
reader = vtkHDFReader()
print(reader.CanReadFile("image.vtkhdf"))
reader.SetFileName("image.vtkhdf")
reader.Update()
show(reader.GetOutput())

subprocess.run(["tcc", "-w", "-lcgns", "-run", "/usr/src/cgns/grids.c", "write", "."], check=True)
reader = vtkCGNSReader()
reader.SetFileName("part.cgns")
reader.Update()
blocks = reader.GetOutput()
show(blocks.GetBlock(0).GetBlock(0))
