#!/usr/bin/tcc -run -lmatio
/* matio: variables of several classes in a MAT file of version 7.3, which is an HDF5 file. */
#include <matio.h>
#include <stdio.h>

static void add(mat_t *mat, const char *name, enum matio_classes class, enum matio_types type, void *data, enum matio_compression how)
{
    size_t dims[2] = {3, 2};
    matvar_t *variable = Mat_VarCreate(name, class, type, 2, dims, data, 0);
    if (Mat_VarWrite(mat, variable, how))
        printf("cannot write %s\n", name);
    Mat_VarFree(variable);
}

int main(void)
{
    double doubles[] = {1, 2, 3, 4, 5, 6.5};
    int ints[] = {-1, 2, -3, 4, -5, 6};
    unsigned char bytes[] = {0, 1, 2, 253, 254, 255};
    char text[] = "abcdef";
    const char *fields[] = {"first", "second"};
    size_t one[2] = {1, 1}, dims[2] = {3, 2};
    mat_t *mat = Mat_CreateVer("m.mat", "MATLAB 7.3 MAT-file", MAT_FT_MAT73);
    if (!mat)
        return 1;
    add(mat, "doubles", MAT_C_DOUBLE, MAT_T_DOUBLE, doubles, MAT_COMPRESSION_NONE);
    add(mat, "packed", MAT_C_DOUBLE, MAT_T_DOUBLE, doubles, MAT_COMPRESSION_ZLIB);
    add(mat, "ints", MAT_C_INT32, MAT_T_INT32, ints, MAT_COMPRESSION_NONE);
    add(mat, "bytes", MAT_C_UINT8, MAT_T_UINT8, bytes, MAT_COMPRESSION_NONE);
    add(mat, "text", MAT_C_CHAR, MAT_T_UINT8, text, MAT_COMPRESSION_NONE);
    matvar_t *structure = Mat_VarCreateStruct("structure", 2, one, fields, 2);
    Mat_VarSetStructFieldByName(structure, "first", 0, Mat_VarCreate("first", MAT_C_DOUBLE, MAT_T_DOUBLE, 2, dims, doubles, 0));
    Mat_VarSetStructFieldByName(structure, "second", 0, Mat_VarCreate("second", MAT_C_INT32, MAT_T_INT32, 2, dims, ints, 0));
    Mat_VarWrite(mat, structure, MAT_COMPRESSION_NONE);
    Mat_VarFree(structure);
    Mat_Close(mat);
    mat = Mat_Open("m.mat", MAT_ACC_RDWR);
    if (!mat)
        return 2;
    Mat_VarDelete(mat, "ints");
    Mat_Close(mat);
    mat = Mat_Open("m.mat", MAT_ACC_RDONLY);
    for (matvar_t *variable; (variable = Mat_VarReadNext(mat)); Mat_VarFree(variable))
        Mat_VarPrint(variable, 1);
    Mat_Close(mat);
    return 0;
}
