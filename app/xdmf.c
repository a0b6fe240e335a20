#include "app/result_parts.h"

#include <errno.h>
#include <math.h>

/* Less than three dimensions are a 3D mesh of one layer of cells, which lies in x-y in both of
 * VTK's XDMF readers; they put a 2DCoRectMesh into the plane y-z. The layer is as thick as a cell;
 * a line of cells in 1D is a strip as wide as a twentieth of its length, wide enough to be seen. */
static void WriteMesh(FILE *file, const MFGBlock *b) {
  const double thin = b->dim > 1 ? fmin(b->spacing[0], b->spacing[1]) : b->spacing[0];
  const double dz = b->dim > 2 ? b->spacing[2] : thin, z = b->dim > 2 ? b->lower[2] : 0;
  const double dy = b->dim > 1 ? b->spacing[1] : (b->upper[0] - b->lower[0]) / 20;
  const double y = b->dim > 1 ? b->lower[1] : 0;
  (void)fprintf(file,
                "        <Topology TopologyType=\"3DCoRectMesh\" Dimensions=\"%d %d %d\"/>\n"
                "        <Geometry GeometryType=\"ORIGIN_DXDYDZ\">\n"
                "          <DataItem Dimensions=\"3\" NumberType=\"Float\" Precision=\"8\" "
                "Format=\"XML\">%.17g %.17g %.17g</DataItem>\n"
                "          <DataItem Dimensions=\"3\" NumberType=\"Float\" Precision=\"8\" "
                "Format=\"XML\">%.17g %.17g %.17g</DataItem>\n"
                "        </Geometry>\n",
                b->cells[2] + 1, b->cells[1] + 1, b->cells[0] + 1, z, y, b->lower[0], dz, dy,
                b->spacing[0]);
}

static void WriteAttribute(FILE *file, const MFGBlock *b, const char *h5, int level,
                           const char *name) {
  (void)fprintf(file,
                "        <Attribute Name=\"%s\" AttributeType=\"Scalar\" Center=\"Cell\">\n"
                "          <DataItem Dimensions=\"%d %d %d\" NumberType=\"Float\" Precision=\"8\" "
                "Format=\"HDF\">%s:/viz/%06d/%s</DataItem>\n"
                "        </Attribute>\n",
                name, b->cells[2], b->cells[1], b->cells[0], h5, level, name);
}

PetscErrorCode MFGResultWriteXDMF(const char *path, const char *h5, const MFGResult *result,
                                  int count, const int levels[]) {
  const MFGBlock *b = &result->grid->block;
  const double dt = result->config->time.horizon / result->config->time.steps;

  PetscFunctionBeginUser;
  FILE *file = fopen(path, "w");
  PetscCheck(file, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "%s: cannot be created: %s", path,
             strerror(errno));
  (void)fprintf(file, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                      "<Xdmf Version=\"3.0\">\n"
                      "  <Domain>\n"
                      "    <Grid Name=\"flow\" GridType=\"Collection\" "
                      "CollectionType=\"Temporal\">\n");
  for (int j = 0; j < count; j++) {
    (void)fprintf(file, "      <Grid Name=\"level\" GridType=\"Uniform\">\n");
    (void)fprintf(file, "        <Time Value=\"%.17g\"/>\n", levels[j] * dt);
    WriteMesh(file, b);
    WriteAttribute(file, b, h5, levels[j], "m");
    WriteAttribute(file, b, h5, levels[j], "u");
    (void)fprintf(file, "      </Grid>\n");
  }
  (void)fprintf(file, "    </Grid>\n  </Domain>\n</Xdmf>\n");
  const int failed = ferror(file);
  const int closed = fclose(file);
  PetscCheck(!failed && !closed, PETSC_COMM_SELF, PETSC_ERR_FILE_WRITE, "%s: cannot be written: %s",
             path, strerror(errno));
  PetscFunctionReturn(PETSC_SUCCESS);
}
