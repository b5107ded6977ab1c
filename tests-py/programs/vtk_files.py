"""VTK's own HDF5, in which all names begin with vtkhdf5_, beside h5py's."""
# store: any
# only: h5lake
# requires: vtk.txt

import os
import subprocess
import sys

import h5py
from cases import main, same
from vtkmodules.vtkFiltersSources import vtkSphereSource
from vtkmodules.vtkIOHDF import vtkHDFReader, vtkHDFWriter



def check_vtk_writes_and_reads_containers(_folder):
    sphere = vtkSphereSource()
    sphere.Update()
    writer = vtkHDFWriter()
    writer.SetInputData(sphere.GetOutput())
    writer.SetFileName("sphere.vtkhdf")
    assert writer.Write() == 1
    reader = vtkHDFReader()
    reader.SetFileName("sphere.vtkhdf")
    reader.Update()
    assert reader.GetOutput().GetNumberOfPoints() == sphere.GetOutput().GetNumberOfPoints() == 50
    with h5py.File("sphere.vtkhdf") as f:
        assert f["VTKHDF"].attrs["Type"] == b"PolyData"
        same(f["VTKHDF/NumberOfPoints"][...], f["VTKHDF/NumberOfPoints"][...] * 0 + 50)


def check_vtk_reads_native_files(_folder):
    env = {key: value for key, value in os.environ.items() if key != "HDF5_VOL_CONNECTOR"}
    subprocess.run([sys.executable, "-c", WRITE_NATIVE], env=env, check=True)
    reader = vtkHDFReader()
    reader.SetFileName("native.vtkhdf")
    reader.Update()
    assert reader.GetOutput().GetNumberOfPoints() == 50


WRITE_NATIVE = """
from vtkmodules.vtkFiltersSources import vtkSphereSource
from vtkmodules.vtkIOHDF import vtkHDFWriter
sphere = vtkSphereSource()
sphere.Update()
writer = vtkHDFWriter()
writer.SetInputData(sphere.GetOutput())
writer.SetFileName("native.vtkhdf")
assert writer.Write() == 1
"""

main(globals())
