"""The cases of the particles kernel: their names and the arguments of particles.c."""

CASES = {
    "contiguous": "",
    "structs in memory": "memory=structs",
    "structs in the file": "stored=structs",
    "structs": "memory=structs stored=structs transfer=independent",
    "strided": "select=strided read=strided",
    "strided structs": "select=strided memory=structs stored=structs read=part",
    "independent": "transfer=independent read=neighbour",
    "two dimensions": "dims=2 chunk=20 read=neighbour",
    "three dimensions": "dims=3 chunk=9 transfer=independent read=strided",
    "deflate": "chunk=512 deflate=1",
    "deflate, shared chunks": "dims=2 chunk=20 deflate=1 memory=structs read=part",
    "append": "mode=append chunk=500 steps=4",
    "append, independent": "mode=append dims=2 chunk=20 steps=4 transfer=independent read=strided",
    "append, deflate": "mode=append chunk=500 deflate=1 steps=4 select=strided",
    "overwrite": "mode=overwrite steps=4 read=neighbour",
    "overwrite, chunks": "mode=overwrite dims=3 chunk=9 steps=4 transfer=independent",
    "overwrite, deflate": "mode=overwrite chunk=500 deflate=1 steps=4 select=strided read=strided",
}
