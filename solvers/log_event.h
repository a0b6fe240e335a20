/* The phases of -log_view, registered at their first use. */
#ifndef MFG_LOG_EVENT_H
#define MFG_LOG_EVENT_H

#include <petscsys.h>

/* The event of this name, of every object alike. *event: static and -1 at first, since PETSc
 * compares the name with those of all events to find it. */
static inline PetscErrorCode MFGLogEvent(const char *name, PetscLogEvent *event) {
  PetscFunctionBeginUser;
  if (*event >= 0) PetscFunctionReturn(PETSC_SUCCESS);
  PetscCall(PetscLogEventGetId(name, event));
  if (*event < 0) PetscCall(PetscLogEventRegister(name, PETSC_OBJECT_CLASSID, event));
  PetscFunctionReturn(PETSC_SUCCESS);
}

#endif
